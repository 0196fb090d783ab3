package dns

import (
	"context"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// ServeDNS answers one message. It implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	m := s.respond(r, tcp)
	if m == nil {
		return
	}
	size := dns.MaxMsgSize
	if !tcp {
		size = dns.MinMsgSize
		if opt := r.IsEdns0(); opt != nil {
			size = max(size, min(int(opt.UDPSize()), udpSize))
		}
	}
	m.Compress = len(m.Answer)+len(m.Ns)+len(m.Extra) > 2
	m.Truncate(size)
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("answer could not be sent", "client", w.RemoteAddr(), "error", err)
	}
}

// respond makes the answer to a message; nil for none.
func (s *Server) respond(r *dns.Msg, tcp bool) *dns.Msg {
	if r.Response {
		return nil
	}
	m := new(dns.Msg)
	m.SetReply(r)
	m.RecursionAvailable = true
	opt := r.IsEdns0()
	switch {
	case r.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
	case len(r.Question) != 1:
		m.Rcode = dns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		m.SetEdns0(udpSize, opt.Do())
		m.IsEdns0().SetExtendedRcode(dns.RcodeBadVers)
		m.Rcode = dns.RcodeBadVers
		return m
	case r.Question[0].Qclass != dns.ClassINET || r.Question[0].Qtype == dns.TypeAXFR || r.Question[0].Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
	default:
		s.resolve(m, r, tcp)
	}
	if opt != nil && m.IsEdns0() == nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	return m
}

// resolve fills m with what the cluster knows, or with what an upstream server says.
func (s *Server) resolve(m, r *dns.Msg, tcp bool) {
	q := r.Question[0]
	out := s.answerer.answer(q)
	if out.elsewhere {
		s.forward(m, r, tcp)
		return
	}
	if !s.ready() {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Authoritative, m.Rcode, m.Answer, m.Extra = true, out.rcode, out.answer, out.extra
	if out.follow != "" {
		s.follow(m, r, out.follow, tcp)
		return
	}
	if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		m.Ns = []dns.RR{s.answerer.soa()}
	}
}

// forward passes the question on and the answer back.
func (s *Server) forward(m, r *dns.Msg, tcp bool) {
	answer, err := s.forwarder.ask(s.context(), r, tcp)
	if err != nil {
		s.log.Debug("question could not be forwarded", "name", r.Question[0].Name, "error", err)
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Rcode, m.Truncated, m.AuthenticatedData = answer.Rcode&0xf, answer.Truncated, answer.AuthenticatedData
	m.Answer, m.Ns, m.Extra = answer.Answer, answer.Ns, withoutOPT(answer.Extra)
	for _, rr := range m.Answer { // as the client spelled it, for those that compare
		if strings.EqualFold(rr.Header().Name, r.Question[0].Name) {
			rr.Header().Name = r.Question[0].Name
		}
	}
}

// follow adds what an alias's target resolves to. What is wrong with the target is not the alias's fault.
func (s *Server) follow(m, r *dns.Msg, target string, tcp bool) {
	next := r.Copy()
	next.Question[0].Name = target
	answer, err := s.forwarder.ask(s.context(), next, tcp)
	if err != nil {
		s.log.Debug("target of an ExternalName could not be resolved", "name", target, "error", err)
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Authoritative = false
	m.Rcode, m.Truncated = answer.Rcode&0xf, answer.Truncated
	m.Answer = append(m.Answer, answer.Answer...)
	m.Ns = answer.Ns
}

func withoutOPT(list []dns.RR) (out []dns.RR) {
	for _, rr := range list {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}

// context ends with Run.
func (s *Server) context() context.Context {
	if ctx := s.running.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}
