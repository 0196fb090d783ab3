package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// verdict is which rule refused a node, and why.
type verdict struct {
	rule *rule
	*rejection
}

// refusals say why a pod is on no node: one verdict on all, or one a node.
type refusals struct {
	all   *verdict
	nodes map[string]verdict
	total int
}

// String is what users, and the cluster autoscaler, read, as upstream writes it: "0/3 nodes are available: 1 Insufficient
// cpu, 2 node(s) had untolerated taint(s)."
func (r *refusals) String() string {
	if r.all != nil {
		return fmt.Sprintf("0/%d nodes are available: %s.", r.total, strings.Join(r.all.reasons, ", "))
	}
	counts := map[string]int{}
	for _, v := range r.nodes {
		for _, reason := range v.reasons {
			counts[reason]++
		}
	}
	return unavailable(r.total, counts)
}

func unavailable(total int, counts map[string]int) string {
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	out := fmt.Sprintf("0/%d nodes are available:", total)
	if len(parts) > 0 {
		out += " " + strings.Join(parts, ", ") + "."
	}
	return out
}

// wakes are the changes that could turn one of the refusals.
func (r *refusals) wakes() (all change) {
	if r.all != nil {
		all |= r.all.rule.wakes
	}
	for _, v := range r.nodes {
		all |= v.rule.wakes
	}
	return all | nodeAdded
}
