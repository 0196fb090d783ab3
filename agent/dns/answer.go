package dns

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ttl in seconds of what the cluster answers, also of "there is no such name".
const ttl = 5

// specVersion of Kubernetes DNS-based service discovery that is implemented.
const specVersion = "1.1.0"

// nameServer is the name of the cluster DNS itself, below the cluster's domain.
const nameServer = "ns.dns"

// reply is what the zone says to a question.
type reply struct {
	rcode         int
	answer, extra []dns.RR
	// follow is where an alias leads outside the cluster; it is to be resolved and added.
	follow string
	// elsewhere: the zone is not asked for this name.
	elsewhere bool
}

// answerer turns questions into replies.
type answerer struct {
	zone *zone
	// suffix is ".cluster.local."
	suffix string
	// addrs are those of the cluster DNS.
	addrs []netip.Addr
	// ranges whose addresses are the cluster's to name.
	ranges       []netip.Prefix
	hasNamespace func(string) bool
}

// answer replies to a question. It asks nobody.
func (a *answerer) answer(q dns.Question) reply {
	name := strings.ToLower(q.Name)
	if name == a.suffix[1:] {
		return a.apex(q)
	}
	if rest, ok := strings.CutSuffix(name, a.suffix); ok {
		return a.inside(q, rest, 0)
	}
	if strings.HasSuffix(name, ".arpa.") {
		return a.reverse(q, name)
	}
	return reply{elsewhere: true}
}

func (a *answerer) apex(q dns.Question) reply {
	switch q.Qtype {
	case dns.TypeSOA:
		return reply{answer: []dns.RR{a.soa()}}
	case dns.TypeNS:
		host := nameServer + a.suffix
		return reply{answer: []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS), Ns: host}},
			extra: append(addressRecords(host, dns.TypeA, a.addrs), addressRecords(host, dns.TypeAAAA, a.addrs)...)}
	}
	return reply{}
}

// inside answers for a name below the domain, which is given without it.
func (a *answerer) inside(q dns.Question, rest string, depth int) reply {
	if rest == "dns-version" {
		if q.Qtype == dns.TypeTXT {
			return reply{answer: []dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{specVersion}}}}
		}
		return reply{}
	}
	switch rest {
	case nameServer:
		return reply{answer: addressRecords(q.Name, q.Qtype, a.addrs)}
	case "svc", "pod", "dns": // there are names below them
		return reply{}
	}
	if names, ok := strings.CutSuffix(rest, ".svc"); ok {
		return a.service(q, names, depth)
	}
	if names, ok := strings.CutSuffix(rest, ".pod"); ok {
		return a.pod(q, names)
	}
	return reply{rcode: dns.RcodeNameError}
}

// service answers for "ns", "web.ns", "host.web.ns" and "_http._tcp.web.ns".
func (a *answerer) service(q dns.Question, names string, depth int) reply {
	dot := strings.LastIndexByte(names, '.')
	if dot < 0 {
		if a.zone.hasServices(names) || a.hasNamespace(names) {
			return reply{}
		}
		return reply{rcode: dns.RcodeNameError}
	}
	below, key := "", names
	if i := strings.LastIndexByte(names[:dot], '.'); i >= 0 {
		below, key = names[:i], names[i+1:]
	}
	r := a.zone.service(key)
	switch {
	case r == nil:
		return reply{rcode: dns.RcodeNameError}
	case r.external != "" && below == "":
		return a.alias(q, r.external, depth)
	case below == "" && r.headless && len(r.ips) == 0:
		return reply{rcode: dns.RcodeNameError} // as CoreDNS: resolvers go on with the search path
	case below == "":
		if q.Qtype == dns.TypeSRV {
			return a.srv(q, r, r.ports)
		}
		return reply{answer: shuffled(addressRecords(q.Name, q.Qtype, r.ips))}
	case below[0] == '_':
		return a.portName(q, r, below)
	}
	ips, ok := r.hosts[below]
	if !ok {
		return reply{rcode: dns.RcodeNameError}
	}
	if q.Qtype == dns.TypeSRV {
		return a.srv(q, r, portsAt(r.ports, below))
	}
	return reply{answer: addressRecords(q.Name, q.Qtype, ips)}
}

// portName answers for "_tcp" and "_http._tcp" of a Service.
func (a *answerer) portName(q dns.Question, r *records, below string) reply {
	name, protocol, two := strings.Cut(below, ".")
	if !two {
		name, protocol = "", below
	}
	var found []port
	for _, p := range r.ports {
		if p.protocol == protocol && (!two || p.name == name) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return reply{rcode: dns.RcodeNameError}
	}
	if q.Qtype != dns.TypeSRV || !two {
		return reply{}
	}
	return a.srv(q, r, found)
}

// srv lists the targets of ports, with their addresses beside them.
func (a *answerer) srv(q dns.Question, r *records, ports []port) (out reply) {
	total := 0
	for _, p := range ports {
		total += len(p.targets)
	}
	seen := map[string]bool{}
	for _, p := range ports {
		for _, t := range p.targets {
			host, ips := r.name+a.suffix, r.ips
			if t.host != "" {
				host, ips = t.host+"."+host, r.hosts[t.host]
			}
			out.answer = append(out.answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Weight: uint16(max(1, 100/total)), Port: t.port, Target: host})
			if !seen[host] {
				seen[host] = true
				out.extra = append(append(out.extra, addressRecords(host, dns.TypeA, ips)...), addressRecords(host, dns.TypeAAAA, ips)...)
			}
		}
	}
	return out
}

func portsAt(ports []port, host string) (out []port) {
	for _, p := range ports {
		for _, t := range p.targets {
			if t.host == host {
				out = append(out, port{p.name, p.protocol, []target{t}})
			}
		}
	}
	return out
}

// alias answers for an ExternalName: with what the target is, if it is in the cluster, or else where to ask.
func (a *answerer) alias(q dns.Question, to string, depth int) reply {
	if _, ok := dns.IsDomainName(to); !ok || to == "." {
		return reply{rcode: dns.RcodeServerFailure}
	}
	cname := &dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: to}
	out := reply{answer: []dns.RR{cname}}
	if q.Qtype == dns.TypeCNAME {
		return out
	}
	rest, ok := strings.CutSuffix(to, a.suffix)
	if !ok {
		out.follow = to
		return out
	}
	if depth >= 8 {
		return reply{rcode: dns.RcodeServerFailure} // aliases in a circle
	}
	next := a.inside(dns.Question{Name: to, Qtype: q.Qtype, Qclass: q.Qclass}, rest, depth+1)
	if next.rcode != dns.RcodeServerFailure {
		next.answer = append(out.answer, next.answer...)
	}
	return next
}

// pod answers for "10-42-0-5.ns": any address, in a namespace that exists.
func (a *answerer) pod(q dns.Question, names string) reply {
	text, namespace, ok := strings.Cut(names, ".")
	if !ok {
		text, namespace = "", names
	}
	if strings.Contains(namespace, ".") || !a.hasNamespace(namespace) {
		return reply{rcode: dns.RcodeNameError}
	}
	if text == "" {
		return reply{}
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(text, "-", "."))
	if err != nil {
		ip, err = netip.ParseAddr(strings.ReplaceAll(text, "-", ":"))
	}
	if err != nil {
		return reply{rcode: dns.RcodeNameError}
	}
	return reply{answer: addressRecords(q.Name, q.Qtype, []netip.Addr{ip})}
}

// reverse answers for addresses that Services know, and for all in the cluster's ranges.
func (a *answerer) reverse(q dns.Question, name string) reply {
	ip, ok := addressOf(name)
	if !ok {
		return reply{elsewhere: true}
	}
	names := a.zone.names(ip)
	if len(names) == 0 {
		for _, p := range a.ranges {
			if p.Contains(ip) {
				return reply{rcode: dns.RcodeNameError}
			}
		}
		return reply{elsewhere: true}
	}
	var out reply
	if q.Qtype == dns.TypePTR {
		for _, n := range names {
			out.answer = append(out.answer, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: n + a.suffix})
		}
	}
	return out
}

// addressOf reads "5.0.42.10.in-addr.arpa." and its IPv6 kind.
func addressOf(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		ip, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return ip, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := range 32 {
		nibble, err := strconv.ParseUint(rest[62-2*i:63-2*i], 16, 8)
		if err != nil || i > 0 && rest[63-2*i] != '.' {
			return netip.Addr{}, false
		}
		b[i/2] = b[i/2]<<4 | byte(nibble)
	}
	return netip.AddrFrom16(b), true
}

func (a *answerer) soa() *dns.SOA {
	return &dns.SOA{Hdr: header(a.suffix[1:], dns.TypeSOA), Ns: nameServer + a.suffix, Mbox: "hostmaster" + a.suffix,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// addressRecords are the addresses of the asked family.
func addressRecords(name string, kind uint16, ips []netip.Addr) (out []dns.RR) {
	for _, ip := range ips {
		switch {
		case kind == dns.TypeA && ip.Is4():
			out = append(out, &dns.A{Hdr: header(name, kind), A: ip.AsSlice()})
		case kind == dns.TypeAAAA && ip.Is6():
			out = append(out, &dns.AAAA{Hdr: header(name, kind), AAAA: ip.AsSlice()})
		}
	}
	return out
}

// shuffled spreads clients that take the first address over all of them.
func shuffled(list []dns.RR) []dns.RR {
	if len(list) > 1 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}
