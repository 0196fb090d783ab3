package netproxy

import (
	"net/netip"
	"slices"

	"codeberg.org/skiff/skiff/internal/iptables"
)

const (
	chainEntry   = chainPrefix + "ENTRY"
	chainLocal   = chainPrefix + "LOCAL"
	chainPost    = chainPrefix + "POST"
	chainSelf    = chainPrefix + "SELF"
	chainFilter  = chainPrefix + "FILTER"
	chainInput   = chainPrefix + "INPUT"
	chainForward = chainPrefix + "FORWARD"
	chainOutput  = chainPrefix + "OUTPUT"
)

// tcpReset refuses a connection also of the node itself at once: an ICMP error comes back while connect(2) still holds the
// socket, so the kernel ignores it and the caller waits a second for the next SYN.
const tcpReset = " -j REJECT --reject-with tcp-reset"

// protocols in the order in which a packet to a local port is compared.
var protocols = []string{"tcp", "udp", "sctp"}

// ruleset is the whole rule set of one family, kept up to date part by part.
type ruleset struct {
	render   renderer
	services []netip.Prefix // service CIDRs
	parts    map[string]part
	set      iptables.Set
	// dispatch are the chains that lead to the parts, made by each of the builders; stale ones are made anew.
	dispatch [builders][]string
	stale    [builders]bool
}

// The builders of dispatch chains.
const (
	byAddress = iota
	byPort
	toSelf
	builders
)

func newRuleset(render renderer, services []netip.Prefix) *ruleset {
	r := &ruleset{render: render, services: services, parts: map[string]part{}, stale: [builders]bool{true, true, true}}
	r.set = iptables.Set{Chains: map[iptables.Chain][]string{}, Jumps: jumps()}
	r.fixed()
	return r
}

func jumps() []iptables.Jump {
	return []iptables.Jump{
		{Table: iptables.NAT, From: "PREROUTING", To: chainEntry},
		{Table: iptables.NAT, From: "OUTPUT", To: chainEntry},
		{Table: iptables.NAT, From: "POSTROUTING", To: chainPost},
		{Table: iptables.Filter, From: "INPUT", To: chainInput},
		{Table: iptables.Filter, From: "FORWARD", To: chainForward},
		{Table: iptables.Filter, From: "OUTPUT", To: chainOutput},
	}
}

// fixed fills the chains that do not depend on Services.
func (r *ruleset) fixed() {
	nat := func(name string) iptables.Chain { return iptables.Chain{Table: iptables.NAT, Name: name} }
	filter := func(name string) iptables.Chain { return iptables.Chain{Table: iptables.Filter, Name: name} }
	chains := r.set.Chains
	chains[nat(chainPost)] = []string{
		"-m conntrack --ctstate DNAT -j " + chainSelf,
		"-m mark ! --mark " + iptables.MarkMasquerade + " -j RETURN",
		"-j MARK --set-xmark 0x0/" + iptables.MarkMask,
		"-j MASQUERADE --random-fully",
	}
	chains[filter(chainFilter)] = []string{
		"-m mark --mark " + iptables.MarkDrop + " -j DROP",
		"-p tcp -m mark --mark " + iptables.MarkReject + tcpReset,
		"-m mark --mark " + iptables.MarkReject + " -j REJECT",
	}
	var input, refuse []string
	for _, addr := range sortedAddrs(r.render.skip) {
		host := netip.PrefixFrom(addr, addr.BitLen()).String()
		input = append(input, "-d "+host+" -p udp -m udp --dport 53 -j ACCEPT", "-d "+host+" -p tcp -m tcp --dport 53 -j ACCEPT")
		refuse = append(refuse, "-d "+host+" -j RETURN")
	}
	if r.render.family == iptables.IPv4 {
		// route_localnet lets node ports work on 127.0.0.1; it must not open the node's loopback to its neighbours.
		input = append(input, "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
	}
	// What still has a Service address here belongs to no Service, or to none of its ports.
	for _, cidr := range r.services {
		refuse = append(refuse, "-p tcp -d "+cidr.String()+tcpReset, "-d "+cidr.String()+" -j REJECT")
	}
	jump := "-m mark --mark " + iptables.MarkRefused + " -j " + chainFilter
	chains[filter(chainInput)] = append([]string{jump}, input...)
	chains[filter(chainOutput)] = append([]string{jump}, refuse...)
	chains[filter(chainForward)] = append(append([]string{jump}, refuse...),
		"-m mark --mark "+iptables.MarkMasquerade+" -j ACCEPT",
		"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		// An answer that connection tracking cannot place would reach the client with the pod's own address.
		"-m conntrack --ctstate INVALID -j DROP",
	)
}

// put replaces a part; an empty one removes it. It returns the part that was there.
func (r *ruleset) put(key string, p part) (old part) {
	old = r.parts[key]
	for name := range old.chains {
		if _, stays := p.chains[name]; !stays {
			delete(r.set.Chains, iptables.Chain{Table: iptables.NAT, Name: name})
		}
	}
	for name, rules := range p.chains {
		r.set.Chains[iptables.Chain{Table: iptables.NAT, Name: name}] = rules
	}
	r.stale[byAddress] = r.stale[byAddress] || !sameLeaves(old.addresses, p.addresses)
	r.stale[byPort] = r.stale[byPort] || !sameLeaves(old.ports, p.ports)
	r.stale[toSelf] = r.stale[toSelf] || !slices.Equal(old.local, p.local)
	if len(p.chains)+len(p.addresses)+len(p.ports) == 0 {
		delete(r.parts, key)
	} else {
		r.parts[key] = p
	}
	return old
}

// rules is the set as it shall be now. It is valid until the next put.
func (r *ruleset) rules() iptables.Set {
	for which, build := range [builders]func(map[string][]string){r.buildAddresses, r.buildPorts, r.buildSelf} {
		if !r.stale[which] {
			continue
		}
		for _, name := range r.dispatch[which] {
			delete(r.set.Chains, iptables.Chain{Table: iptables.NAT, Name: name})
		}
		out := map[string][]string{}
		build(out)
		r.dispatch[which] = r.dispatch[which][:0]
		for name, rules := range out {
			r.dispatch[which] = append(r.dispatch[which], name)
			r.set.Chains[iptables.Chain{Table: iptables.NAT, Name: name}] = rules
		}
		r.stale[which] = false
	}
	return r.set
}

// buildAddresses makes the way to cluster IPs and other addresses of Services, and then to local ports.
func (r *ruleset) buildAddresses(out map[string][]string) {
	leaves := make([]leaf, 0, len(r.parts))
	for _, p := range r.parts {
		leaves = append(leaves, p.addresses...)
	}
	notLoopback := ""
	if r.render.family == iptables.IPv6 {
		notLoopback = "! -d ::1/128 "
	}
	out[chainEntry] = append(addressTree("IP", "-d", out).build(leaves), notLoopback+"-m addrtype --dst-type LOCAL -j "+chainLocal)
}

// buildPorts makes the way to node ports and host ports.
func (r *ruleset) buildPorts(out map[string][]string) {
	ports := map[string][]leaf{}
	for _, p := range r.parts {
		for _, l := range p.ports {
			ports[l.protocol] = append(ports[l.protocol], l)
		}
	}
	out[chainLocal] = nil
	for _, protocol := range protocols {
		if leaves := ports[protocol]; len(leaves) > 0 {
			root := chainPrefix + "PORTS-" + protocol
			out[root] = portTree(protocol, out).build(leaves)
			out[chainLocal] = append(out[chainLocal], "-p "+protocol+" -j "+root)
		}
	}
}

// buildSelf makes the rules for pods that reach themselves through a Service: they must not see their own address as
// the client's.
func (r *ruleset) buildSelf(out map[string][]string) {
	var leaves []leaf
	for _, p := range r.parts {
		for _, a := range p.local {
			host := netip.PrefixFrom(a, a.BitLen()).String()
			leaves = append(leaves, leaf{key: a.AsSlice(), rule: "-s " + host + " -d " + host + " -j MASQUERADE --random-fully"})
		}
	}
	out[chainSelf] = addressTree("SELF", "-s", out).build(leaves)
}

func sameLeaves(a, b []leaf) bool {
	return slices.EqualFunc(a, b, func(a, b leaf) bool { return a.rule == b.rule && a.protocol == b.protocol })
}

func sortedAddrs(set map[netip.Addr]bool) []netip.Addr {
	out := make([]netip.Addr, 0, len(set))
	for a := range set {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
