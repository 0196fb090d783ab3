package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// resolver is an upstream server on UDP that says what reply makes of each question; nil for silence.
func resolver(t *testing.T, reply func(r *dns.Msg) [][]byte) netip.AddrPort {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			r := new(dns.Msg)
			if r.Unpack(buf[:n]) != nil {
				continue
			}
			for _, answer := range reply(r) {
				pc.WriteTo(answer, from)
			}
		}
	}()
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// packed is an answer to r with count addresses.
func packed(t *testing.T, r *dns.Msg, rcode, count int) []byte {
	m := new(dns.Msg)
	m.SetRcode(r, rcode)
	m.Compress = true
	for i := range count {
		rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.%d.%d", r.Question[0].Name, 2+i/250, i%250))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// query asks s as a client would that has an OPT record in its question, or none.
func query(s *Server, name string, edns, tcp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	if edns {
		m.SetEdns0(4096, false)
	}
	return s.respond(m, tcp)
}

func TestServersThatDoNotKnowEDNS(t *testing.T) {
	for name, toEDNS := range map[string]func(r *dns.Msg) [][]byte{
		"FORMERR": func(r *dns.Msg) [][]byte { return [][]byte{packed(t, r, dns.RcodeFormatError, 0)} },
		"FORMERR without the question": func(r *dns.Msg) [][]byte {
			m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: r.Id, Response: true, Rcode: dns.RcodeFormatError}}
			wire, _ := m.Pack()
			return [][]byte{wire}
		},
		"NOTIMP": func(r *dns.Msg) [][]byte { return [][]byte{packed(t, r, dns.RcodeNotImplemented, 0)} },
		"drops":  func(*dns.Msg) [][]byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var withOPT atomic.Int32
			up := resolver(t, func(r *dns.Msg) [][]byte {
				if r.IsEdns0() != nil {
					withOPT.Add(1)
					return toEDNS(r)
				}
				return [][]byte{packed(t, r, dns.RcodeSuccess, 1)}
			})
			s := newServer(t, parseSource(t, objects), func(c *Config) { c.Upstreams = []netip.AddrPort{up} })
			if m := query(s, "a.example.org.", false, false); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || m.IsEdns0() != nil || withOPT.Load() != 0 {
				t.Errorf("a client without EDNS: %v; %d questions had an OPT record", m, withOPT.Load())
			}
			if m := query(s, "b.example.org.", true, false); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || m.IsEdns0() == nil {
				t.Errorf("a client with EDNS: %v", m)
			}
			if m := query(s, "c.example.org.", true, false); m.Rcode != dns.RcodeSuccess || withOPT.Load() != 1 {
				t.Errorf("what was learned is not used: %v; %d questions had an OPT record", m, withOPT.Load())
			}
		})
	}
}

func TestOversizeAnswersWithoutTC(t *testing.T) {
	for name, c := range map[string]struct {
		reply func(r *dns.Msg) [][]byte
		whole bool // enough came for a client with room
	}{
		"longer than said":           {func(r *dns.Msg) [][]byte { return [][]byte{packed(t, r, dns.RcodeSuccess, 100)} }, true},
		"longer than what is read":   {func(r *dns.Msg) [][]byte { return [][]byte{packed(t, r, dns.RcodeSuccess, 500)} }, false},
		"cut off in a record, no TC": {func(r *dns.Msg) [][]byte { return [][]byte{packed(t, r, dns.RcodeSuccess, 60)[:512]} }, false},
		"after lies of somebody else": {func(r *dns.Msg) [][]byte {
			other, stale := r.Copy(), r.Copy()
			other.Question = []dns.Question{{Name: "evil.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
			stale.Id++
			return [][]byte{nil, {1, 2, 3}, packed(t, other, dns.RcodeSuccess, 1), packed(t, stale, dns.RcodeNameError, 0), packed(t, r, dns.RcodeSuccess, 100)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := resolver(t, c.reply)
			_, at := start(t, parseSource(t, objects), func(cfg *Config) { cfg.Upstreams = []netip.AddrPort{up} })
			for _, edns := range []bool{false, true} {
				m := ask(t, "udp", at, "a.example.org.", dns.TypeA, func(m *dns.Msg) {
					if edns {
						m.SetEdns0(1232, false)
					}
				})
				if m.Rcode != dns.RcodeSuccess || !m.Truncated {
					t.Errorf("EDNS %v: %s, truncated %v", edns, dns.RcodeToString[m.Rcode], m.Truncated)
				}
			}
			// The client asks again over TCP; this server listens on UDP only.
			m := ask(t, "tcp", at, "a.example.org.", dns.TypeA, nil)
			if c.whole && (m.Rcode != dns.RcodeSuccess || len(m.Answer) != 100) {
				t.Errorf("over TCP: %s with %d records", dns.RcodeToString[m.Rcode], len(m.Answer))
			}
		})
	}
}

func TestStubDomains(t *testing.T) {
	named := func(last int) netip.AddrPort {
		return resolver(t, func(r *dns.Msg) [][]byte {
			m := new(dns.Msg)
			m.SetReply(r)
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.2.%d", r.Question[0].Name, last))
			m.Answer = append(m.Answer, rr)
			wire, _ := m.Pack()
			return [][]byte{wire}
		})
	}
	var stubs []Stub
	for i, domain := range []string{"example.org", "Deep.example.org"} {
		stub, err := ParseStub(domain + "=" + named(i+1).String())
		if err != nil {
			t.Fatal(err)
		}
		stubs = append(stubs, stub)
	}
	s := newServer(t, parseSource(t, objects), func(c *Config) { c.Upstreams, c.Stubs = []netip.AddrPort{named(9)}, stubs })
	for name, want := range map[string]string{"example.org.": "192.0.2.1", "WWW.Example.org.": "192.0.2.1", "x.deep.example.org.": "192.0.2.2",
		"notexample.org.": "192.0.2.9", "example.com.": "192.0.2.9"} {
		if m := query(s, name, false, false); len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "\t"+want) {
			t.Errorf("%s: %v; want %s", name, m.Answer, want)
		}
	}
	for _, bad := range []string{"", "example.org", "example.org=", "=10.0.0.1", "example.org=here", "example.org=10.0.0.1,", "example.org=0.0.0.0", "..=10.0.0.1"} {
		if stub, err := ParseStub(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, stub)
		}
	}
	own, _ := ParseStub("svc.cluster.local=10.0.0.1")
	loop, _ := ParseStub("example.com=10.43.0.10")
	for _, bad := range [][]Stub{{own}, {loop}, {stubs[0], stubs[0]}} {
		if _, err := New(Config{Source: parseSource(t, objects), Addrs: []netip.Addr{netip.MustParseAddr("10.43.0.10")}, Stubs: bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestTheNameServerHasAnAddress(t *testing.T) {
	s := newServer(t, parseSource(t, objects), func(c *Config) {
		c.Addrs = []netip.Addr{netip.MustParseAddr("10.43.0.10"), netip.MustParseAddr("fd43::a")}
	})
	m := new(dns.Msg)
	m.SetQuestion("cluster.local.", dns.TypeNS)
	ns := s.respond(m, false)
	if len(ns.Answer) != 1 || len(ns.Extra) != 2 {
		t.Fatalf("NS: %v", ns)
	}
	name := ns.Answer[0].(*dns.NS).Ns
	if got := query(s, name, false, false); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 1 || !slices.Equal(got.Answer[0].(*dns.A).A.To4(), []byte{10, 43, 0, 10}) {
		t.Errorf("%s: %v", name, got)
	}
	m.SetQuestion(name, dns.TypeAAAA)
	if got := s.respond(m, false); len(got.Answer) != 1 {
		t.Errorf("%s: %v", name, got)
	}
	m.SetQuestion("dns.cluster.local.", dns.TypeA)
	if got := s.respond(m, false); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 0 {
		t.Errorf("dns.cluster.local.: %v; names below it exist", got)
	}
}

func FuzzParseUDP(f *testing.F) {
	f.Add([]byte("\x00\x01\x80\x00\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, wire []byte) { parseUDP(wire) })
}
