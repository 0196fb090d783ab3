package netproxy

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// staleUDP says which remembered UDP connections must be forgotten: UDP has no end that the kernel could see, so a
// client that keeps sending would stay with an endpoint that is gone, or with none at all.
type staleUDP struct {
	// gone are endpoints that no longer serve.
	gone map[netip.AddrPort]bool
	// fronts have endpoints since now; before, packets to them went nowhere. An invalid address stands for all of the node's.
	fronts map[netip.AddrPort]bool
}

// changed adds what follows from a part's change.
func (s *staleUDP) changed(old, now part) {
	for ep := range old.udp {
		if !now.udp[ep] {
			if s.gone == nil {
				s.gone = map[netip.AddrPort]bool{}
			}
			s.gone[ep] = true
		}
	}
	if len(old.udp) == 0 && len(now.udp) > 0 {
		for _, front := range now.udpFronts {
			if s.fronts == nil {
				s.fronts = map[netip.AddrPort]bool{}
			}
			s.fronts[front] = true
		}
	}
}

func (s *staleUDP) empty() bool { return len(s.gone)+len(s.fronts) == 0 }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *staleUDP) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	asked, ok1 := netip.AddrFromSlice(flow.Forward.DstIP)
	answers, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	to := netip.AddrPortFrom(asked.Unmap(), flow.Forward.DstPort)
	from := netip.AddrPortFrom(answers.Unmap(), flow.Reverse.SrcPort)
	if to != from {
		return s.gone[from]
	}
	return s.fronts[to] || s.fronts[netip.AddrPortFrom(netip.Addr{}, to.Port())]
}

// forget deletes them from the kernel.
func (s *staleUDP) forget(family iptables.Family) error {
	inet := netlink.InetFamily(unix.AF_INET)
	if family == iptables.IPv6 {
		inet = unix.AF_INET6
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, inet, s); err != nil {
		return fmt.Errorf("forget UDP connections to endpoints that are gone: %w", err)
	}
	return nil
}
