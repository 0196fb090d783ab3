package podnet

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// vtep is a node's end of the overlay.
type vtep struct {
	mac      net.HardwareAddr
	underlay netip.Addr
}

func (v vtep) String() string { return v.mac.String() + "/" + v.underlay.String() }

func parseVTEP(value string) (vtep, error) {
	mac, addr, ok := strings.Cut(value, "/")
	if !ok {
		return vtep{}, fmt.Errorf("%q is not of the form MAC/address", value)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 || hw[0]&1 != 0 || bytes.Equal(hw, make([]byte, 6)) {
		return vtep{}, fmt.Errorf("%q has no unicast MAC address", value)
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() || ip.Zone() != "" {
		return vtep{}, fmt.Errorf("%q has no usable IP address", value)
	}
	return vtep{hw, ip.Unmap()}, nil
}

// peer is another node, as far as the overlay needs to know it.
type peer struct {
	node  string
	vtep  vtep
	cidrs []netip.Prefix
}

// peersOf picks the nodes that pods can be reached on. Nodes that are not complete yet are left out; what is wrong with
// a node is in problems. A CIDR that two nodes claim, or that is not the cluster's, is nobody's.
func peersOf(nodes []*corev1.Node, self string, cluster []netip.Prefix) (peers []peer, problems []string) {
	sorted := append([]*corev1.Node(nil), nodes...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	owner := map[netip.Prefix]string{}
	for _, node := range sorted {
		value := node.Annotations[wellknown.AnnotationVTEP]
		cidrs := PodCIDRs(node)
		if node.Name == self {
			for _, cidr := range cidrs {
				owner[cidr] = self
			}
		}
		if node.Name == self || value == "" || len(cidrs) == 0 || !node.DeletionTimestamp.IsZero() {
			continue
		}
		v, err := parseVTEP(value)
		if err != nil {
			problems = append(problems, fmt.Sprintf("node %s: annotation %s: %v", node.Name, wellknown.AnnotationVTEP, err))
			continue
		}
		peers = append(peers, peer{node.Name, v, cidrs})
	}
	for i := range peers {
		var own []netip.Prefix
		for _, cidr := range peers[i].cidrs {
			switch other, taken := owner[cidr]; {
			case !within(cidr, cluster):
				problems = append(problems, fmt.Sprintf("node %s: pod CIDR %s is outside the cluster's", peers[i].node, cidr))
			case taken:
				problems = append(problems, fmt.Sprintf("node %s: pod CIDR %s is node %s's already", peers[i].node, cidr, other))
			default:
				owner[cidr] = peers[i].node
				own = append(own, cidr)
			}
		}
		peers[i].cidrs = own
	}
	return peers, problems
}

func within(cidr netip.Prefix, cluster []netip.Prefix) bool {
	for _, c := range cluster {
		if c.Overlaps(cidr) && c.Bits() <= cidr.Bits() {
			return true
		}
	}
	return len(cluster) == 0
}

// PodCIDRs are a node's, those that can be parsed.
func PodCIDRs(node *corev1.Node) []netip.Prefix {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var cidrs []netip.Prefix
	for _, text := range texts {
		if cidr, err := netip.ParsePrefix(text); err == nil {
			cidrs = append(cidrs, cidr.Masked())
		}
	}
	return cidrs
}
