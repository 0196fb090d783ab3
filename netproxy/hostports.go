package netproxy

import (
	"net/netip"
	"strings"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// HostPort leads from a port of the node to a port of a pod.
type HostPort struct {
	// HostIP is the node's address it is on; invalid or unspecified for all of them.
	HostIP   netip.Addr
	HostPort uint16
	// Protocol is TCP, UDP or SCTP, as the Pod's field spells it.
	Protocol string
	Target   netip.AddrPort
}

// renderHostPorts makes the rules of one pod's host ports. It is pure.
func (r renderer) renderHostPorts(ports []HostPort) part {
	p := part{chains: map[string][]string{}}
	for _, hp := range ports {
		protocol, target := strings.ToLower(hp.Protocol), hp.Target.Addr()
		if hp.HostPort == 0 || !target.IsValid() || target.Is4() != (r.family == iptables.IPv4) || !knownProtocol(protocol) {
			continue
		}
		on := ""
		if hp.HostIP.IsValid() && !hp.HostIP.IsUnspecified() {
			if hp.HostIP.Is4() != target.Is4() {
				continue
			}
			on = "-d " + netip.PrefixFrom(hp.HostIP, hp.HostIP.BitLen()).String() + " "
		}
		name := hashed("H", hp.HostIP.String(), protocol, string([]byte{byte(hp.HostPort >> 8), byte(hp.HostPort)}), hp.Target.String())
		if r.family == iptables.IPv4 {
			p.chains[name] = []string{"-s 127.0.0.0/8 " + markMasquerade}
		}
		p.chains[name] = append(p.chains[name], "-p "+protocol+" -j DNAT --to-destination "+hp.Target.String())
		p.ports = append(p.ports, portLeaf(protocol, hp.HostPort, on, "", "-j "+name))
		p.local = append(p.local, target)
		if protocol == "udp" {
			if p.udp == nil {
				p.udp = map[netip.AddrPort]bool{}
			}
			p.udp[hp.Target] = true
			p.udpFronts = append(p.udpFronts, netip.AddrPortFrom(netip.Addr{}, hp.HostPort))
		}
	}
	return p
}

func knownProtocol(p string) bool {
	for _, known := range protocols {
		if p == known {
			return true
		}
	}
	return false
}
