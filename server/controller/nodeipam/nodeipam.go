// Package nodeipam gives every node its range of pod addresses (spec.podCIDRs), from the cluster's ranges.
//
// There is no record beside the Node objects: what is taken is what they say, in one snapshot, and with one worker two nodes
// are never given the same range.
package nodeipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// Range is one cluster CIDR and the length of the prefixes that nodes get of it.
type Range struct {
	Cluster  netip.Prefix
	NodeBits int
}

// New returns the controller; its keys are nodes.
func New(ranges []Range) controller.Controller {
	return controller.Controller{
		Name: "node-ipam-controller", ServiceAccount: "node-controller",
		Inputs: []controller.Input{{Kind: &corev1.Node{}, Keys: func(s client.Snapshot, e *store.Event) (keys []string) {
			if e.Type != store.Deleted {
				if len(e.Object.(*corev1.Node).Spec.PodCIDRs) == 0 {
					keys = append(keys, e.Object.GetName())
				}
				return keys
			}
			for node := range client.List[*corev1.Node](s, "") { // a range became free: those without one try again
				if len(node.Spec.PodCIDRs) == 0 {
					keys = append(keys, node.Name)
				}
			}
			return keys
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return controller.Result{}, reconcile(ctx, c, key, ranges)
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, name string, ranges []Range) error {
	snap := c.Snapshot()
	node, ok := client.Get[*corev1.Node](snap, "", name)
	if !ok || len(node.Spec.PodCIDRs) > 0 {
		return nil
	}
	taken := map[string]bool{}
	for other := range client.List[*corev1.Node](snap, "") {
		for _, cidr := range other.Spec.PodCIDRs {
			taken[cidr] = true
		}
	}
	cidrs, err := decide(ranges, taken)
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	_, err = c.Mutate(ctx, node, "", func(obj api.Object) error {
		next := obj.(*corev1.Node)
		if len(next.Spec.PodCIDRs) == 0 {
			next.Spec.PodCIDRs, next.Spec.PodCIDR = cidrs, cidrs[0]
		}
		return nil
	})
	return controller.IgnoreGone(err)
}

// decide returns the first free prefix of each range.
func decide(ranges []Range, taken map[string]bool) ([]string, error) {
	var out []string
	for _, r := range ranges {
		prefix, ok := firstFree(r, taken)
		if !ok {
			return nil, fmt.Errorf("no /%d is left in the cluster CIDR %s", r.NodeBits, r.Cluster)
		}
		out = append(out, prefix.String())
	}
	return out, nil
}

func firstFree(r Range, taken map[string]bool) (netip.Prefix, bool) {
	prefix := netip.PrefixFrom(r.Cluster.Masked().Addr(), r.NodeBits)
	var odd []netip.Prefix // ranges that somebody else has given out, of another size
	for cidr := range taken {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Bits() != r.NodeBits && p.Overlaps(r.Cluster) {
			odd = append(odd, p)
		}
	}
	for r.Cluster.Contains(prefix.Addr()) {
		if !taken[prefix.String()] && !slices.ContainsFunc(odd, prefix.Overlaps) {
			return prefix, true
		}
		next, ok := after(prefix)
		if !ok {
			break
		}
		prefix = next
	}
	return netip.Prefix{}, false
}

// after returns the prefix of the same length that follows p; ok is false at the end of the address space.
func after(p netip.Prefix) (next netip.Prefix, ok bool) {
	b := p.Addr().AsSlice()
	carry := 1 << ((8 - p.Bits()%8) % 8)
	for i := (p.Bits() - 1) / 8; i >= 0 && carry > 0; i-- {
		sum := int(b[i]) + carry
		b[i], carry = byte(sum), sum>>8
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, p.Bits()), carry == 0
}
