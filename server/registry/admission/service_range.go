package admission

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"codeberg.org/skiff/skiff/server/api"
)

// maxClaimed bounds how many addresses the search for a free one passes over because others than Services have them.
const maxClaimed = 1024

// rangesOf returns the ranges that addresses of a family come from now: those which the server was started with, then
// those of the ServiceCIDRs. A ServiceCIDR that is going gives no more addresses, whichever it is.
func (al *allocator) rangesOf(family corev1.IPFamily) (out []ipRange) {
	seen := map[netip.Prefix]bool{}
	add := func(r ipRange) {
		if r.family == family && r.size > 0 && !seen[r.prefix] {
			seen[r.prefix] = true
			out = append(out, r)
		}
	}
	cidrs := list[*networkingv1.ServiceCIDR](al.Config, al.Store.Snapshot(), "")
	if len(cidrs) == 0 {
		for _, r := range al.ranges {
			add(r)
		}
	}
	for _, first := range []bool{true, false} {
		for _, c := range cidrs {
			for _, s := range c.Spec.CIDRs {
				p, err := netip.ParsePrefix(s)
				if err == nil && al.startedWith(p) == first && c.DeletionTimestamp == nil &&
					!meta.IsStatusConditionFalse(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
					add(newRange(p))
				}
			}
		}
	}
	return out
}

func (al *allocator) startedWith(p netip.Prefix) bool {
	for i := range al.ranges {
		if al.ranges[i].prefix == p {
			return true
		}
	}
	return false
}

// claimed says whether somebody else than a Service has an IPAddress object for ip (a gateway).
func (t *allocation) claimed(ip netip.Addr) bool {
	a, ok := get[*networkingv1.IPAddress](t.al.Config, "", ip.String())
	return ok && a.Labels[networkingv1.LabelManagedBy] != api.IPAddressManager
}

func prefixes(ranges []ipRange) string {
	var list []string
	for _, r := range ranges {
		list = append(list, r.prefix.String())
	}
	return strings.Join(list, ", ")
}
