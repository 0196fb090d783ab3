package podnet

import (
	"context"
	"fmt"
	"net/netip"

	"codeberg.org/skiff/skiff/internal/iptables"
)

const (
	chainPrefix      = iptables.Network
	chainPostrouting = chainPrefix + "POSTROUTING"
	chainForward     = chainPrefix + "FORWARD"
)

func (n *Network) setupRules(ctx context.Context, podCIDRs []netip.Prefix) error {
	cluster := n.cfg.ClusterCIDRs
	if len(cluster) == 0 {
		cluster = podCIDRs
	}
	for _, family := range []iptables.Family{iptables.IPv4, iptables.IPv6} {
		if !hasFamily(cluster, family) {
			continue
		}
		if _, err := n.writer(family).Apply(ctx, rules(cluster, n.cfg.ServiceCIDRs, family, n.cfg.VXLAN)); err != nil {
			return fmt.Errorf("set the pod network's rules: %w", err)
		}
	}
	return nil
}

func (n *Network) writer(family iptables.Family) *iptables.Writer {
	return n.cfg.Rules.Writer(family, chainPrefix)
}

// rules lets pods through, and gives what leaves the cluster the node's address. What comes into the overlay from outside
// (the node's own address) gets one too, so that the answer comes back through the overlay. What still has a Service's
// address here is left to the service proxy, which refuses it, whichever of the two comes first in FORWARD.
func rules(cluster, services []netip.Prefix, family iptables.Family, vxlan string) iptables.Set {
	multicast := "224.0.0.0/4"
	if family == iptables.IPv6 {
		multicast = "ff00::/8"
	}
	forward := []string{"-m mark --mark " + iptables.MarkRefused + " -j RETURN"}
	for _, cidr := range services {
		if cidr.Addr().Is4() == (family == iptables.IPv4) {
			forward = append(forward, "-d "+cidr.Masked().String()+" -j RETURN")
		}
	}
	var inside, masquerade []string
	for _, cidr := range cluster {
		if cidr.Addr().Is4() != (family == iptables.IPv4) {
			continue
		}
		c := cidr.Masked().String()
		forward = append(forward, "-s "+c+" -j ACCEPT", "-d "+c+" -j ACCEPT")
		masquerade = append(masquerade, "! -s "+c+" -d "+c+" -o "+vxlan+" -j MASQUERADE --random-fully")
		inside = append(inside, "-s "+c+" -d "+c+" -j RETURN")
		inside = append(inside, "-s "+c+" ! -d "+multicast+" -j MASQUERADE --random-fully")
	}
	return iptables.Set{
		Chains: map[iptables.Chain][]string{
			{Table: iptables.NAT, Name: chainPostrouting}: append(masquerade, inside...),
			{Table: iptables.Filter, Name: chainForward}:  forward,
		},
		Jumps: []iptables.Jump{
			{Table: iptables.NAT, From: "POSTROUTING", To: chainPostrouting},
			{Table: iptables.Filter, From: "FORWARD", To: chainForward},
		},
	}
}
