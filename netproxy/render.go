package netproxy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"codeberg.org/skiff/skiff/internal/iptables"
)

const (
	chainPrefix = iptables.Services

	markMasquerade = "-j MARK --set-xmark " + iptables.MarkMasquerade
	markReject     = "-j MARK --set-xmark " + iptables.MarkReject
	markDrop       = "-j MARK --set-xmark " + iptables.MarkDrop
)

// part is what one Service, or one pod's host ports, adds to the rules of one family.
type part struct {
	// chains are its own.
	chains map[string][]string
	// addresses and ports lead to them.
	addresses, ports []leaf
	// local are pods of this node that may reach themselves.
	local []netip.Addr
	// udp are its UDP endpoints, udpFronts where they are reached: for the connections that the kernel remembers.
	udp       map[netip.AddrPort]bool
	udpFronts []netip.AddrPort
}

// renderer knows what is the same for all Services of a family.
type renderer struct {
	family       iptables.Family
	clusterCIDRs []netip.Prefix
	// skip are cluster IPs that are served on the node itself (cluster DNS).
	skip map[netip.Addr]bool
}

// render makes the rules of one Service. It is pure.
func (r renderer) render(ports []servicePort) part {
	p := part{chains: map[string][]string{}}
	for i := range ports {
		r.renderPort(&p, &ports[i])
	}
	return p
}

func (r renderer) renderPort(p *part, sp *servicePort) {
	reached := sp.all
	if sp.internalLocal {
		reached = slices.Concat(sp.all, sp.here) // hints may keep these out of all
	}
	for _, e := range reached {
		if e.local && within(e.addr, r.clusterCIDRs) && !slices.Contains(p.local, e.addr) {
			p.local = append(p.local, e.addr)
		}
	}
	internal, external, restricted := markReject, markReject, markReject
	if len(sp.all) > 0 {
		internal, external, restricted = r.renderChains(p, sp)
	}
	for _, ip := range sp.clusterIPs {
		if !r.skip[ip] {
			p.addresses = append(p.addresses, sp.leaf(ip, internal))
		}
	}
	for _, ip := range sp.externalIPs {
		p.addresses = append(p.addresses, sp.leaf(ip, external))
	}
	for _, ip := range sp.balancerIPs {
		p.addresses = append(p.addresses, sp.leaf(ip, restricted))
	}
	if sp.nodePort != 0 {
		p.ports = append(p.ports, portLeaf(sp.protocol, sp.nodePort, "", comment(sp), external))
	}
	if sp.protocol == "udp" {
		r.renderUDP(p, sp)
	}
}

// renderChains makes the port's chains and returns the targets for connections from inside, from outside, and from
// outside through a load balancer.
func (r renderer) renderChains(p *part, sp *servicePort) (internal, external, restricted string) {
	cluster := chainName("C", sp)
	isExternal := len(sp.externalIPs)+len(sp.balancerIPs) > 0 || sp.nodePort != 0
	if !sp.internalLocal || isExternal {
		p.chains[cluster] = append(r.fromOutside(), r.spread(p, sp, sp.all)...)
	}
	internal = "-j " + cluster
	if sp.internalLocal {
		internal = markDrop
		if len(sp.here) > 0 {
			name := chainName("I", sp)
			p.chains[name] = append(r.fromOutside(), r.spread(p, sp, sp.here)...)
			internal = "-j " + name
		}
	}
	if !isExternal {
		return internal, "", ""
	}
	name := chainName("X", sp)
	p.chains[name] = r.external(p, sp, cluster)
	external = "-j " + name
	restricted = external
	if sp.restricted && len(sp.balancerIPs) > 0 {
		wall := chainName("F", sp)
		for _, source := range sp.sourceRanges {
			p.chains[wall] = append(p.chains[wall], "-s "+source.String()+" "+external)
		}
		p.chains[wall] = append(p.chains[wall], markDrop)
		restricted = "-j " + wall
	}
	return internal, external, restricted
}

// external is the chain for connections from outside. With policy Cluster any node's endpoint may answer, so the answer
// must come back here: masqueraded. With policy Local the client's address stays, and only this node's endpoints serve;
// pods and the node itself still reach all of them.
func (r renderer) external(p *part, sp *servicePort, cluster string) (rules []string) {
	if !sp.externalLocal {
		return []string{markMasquerade, "-j " + cluster}
	}
	for _, cidr := range r.clusterCIDRs {
		rules = append(rules, "-s "+cidr.String()+" -j "+cluster)
	}
	rules = append(rules, "-m addrtype --src-type LOCAL "+markMasquerade, "-m addrtype --src-type LOCAL -j "+cluster)
	if len(sp.here) == 0 {
		return append(rules, markDrop)
	}
	return append(rules, r.spread(p, sp, sp.here)...)
}

// fromOutside masquerades what comes to a cluster IP from neither a pod nor the node's pod-network address.
func (r renderer) fromOutside() []string {
	if len(r.clusterCIDRs) != 1 {
		return nil
	}
	return []string{"! -s " + r.clusterCIDRs[0].String() + " " + markMasquerade}
}

// spread sends a connection to one of the endpoints, each as likely as the others; with affinity to the one that
// the client had last.
func (r renderer) spread(p *part, sp *servicePort, list []endpoint) []string {
	rules := make([]string, 0, 2*len(list))
	targets := make([]string, len(list))
	for i, e := range list {
		if sp.affinity == 0 {
			targets[i] = "-p " + sp.protocol + " -j DNAT --to-destination " + e.target()
			continue
		}
		name := chainName("E", sp, e.target())
		p.chains[name] = []string{"-p " + sp.protocol + " -m recent --name " + name + " --set -j DNAT --to-destination " + e.target()}
		rules = append(rules, fmt.Sprintf("-m recent --name %s --rcheck --seconds %d --reap -j %s", name, sp.affinity, name))
		targets[i] = "-j " + name
	}
	for i, target := range targets {
		if left := len(list) - i; left > 1 {
			target = "-m statistic --mode random --probability " + strconv.FormatFloat(1/float64(left), 'f', 10, 64) + " " + target
		}
		rules = append(rules, target)
	}
	return rules
}

func (r renderer) renderUDP(p *part, sp *servicePort) {
	if p.udp == nil {
		p.udp = map[netip.AddrPort]bool{}
	}
	for _, list := range [][]endpoint{sp.all, sp.here} {
		for _, e := range list {
			p.udp[netip.AddrPortFrom(e.addr, e.port)] = true
		}
	}
	for _, ips := range [][]netip.Addr{sp.clusterIPs, sp.externalIPs, sp.balancerIPs} {
		for _, ip := range ips {
			p.udpFronts = append(p.udpFronts, netip.AddrPortFrom(ip, sp.port))
		}
	}
	if sp.nodePort != 0 {
		p.udpFronts = append(p.udpFronts, netip.AddrPortFrom(netip.Addr{}, sp.nodePort)) // on any address
	}
}

// leaf leads from one address and the port to a target.
func (sp *servicePort) leaf(ip netip.Addr, target string) leaf {
	host := netip.PrefixFrom(ip, ip.BitLen())
	return leaf{key: ip.AsSlice(), rule: fmt.Sprintf("-d %s -p %s -m %s --dport %d%s %s", host, sp.protocol, sp.protocol, sp.port, comment(sp), target)}
}

// portLeaf leads from a port of the node, on all its addresses or on one, to a target.
func portLeaf(protocol string, port uint16, on, comment, target string) leaf {
	return leaf{protocol: protocol, key: []byte{byte(port >> 8), byte(port)},
		rule: fmt.Sprintf("%s-p %s -m %s --dport %d%s %s", on, protocol, protocol, port, comment, target)}
}

// comment names the Service for whoever reads the rules.
func comment(sp *servicePort) string {
	text := sp.service.String()
	if sp.name != "" {
		text += ":" + sp.name
	}
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-./:") != "" || len(text) > 255 {
		return ""
	}
	return " -m comment --comment " + text
}

// chainName is the same for the same port for ever.
func chainName(kind string, sp *servicePort, more ...string) string {
	return hashed(kind, append([]string{sp.service.Namespace, sp.service.Name, sp.name, sp.protocol, strconv.Itoa(int(sp.port))}, more...)...)
}

func hashed(kind string, words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return chainPrefix + kind + "-" + base32.StdEncoding.EncodeToString(sum[:])[:13]
}

func within(addr netip.Addr, cidrs []netip.Prefix) bool {
	for _, cidr := range cidrs {
		if cidr.Contains(addr) {
			return true
		}
	}
	return false
}
