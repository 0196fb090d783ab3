package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// named: pods that name their node by affinity, as those of a DaemonSet do, look at no other. It comes before all rules, so
// that these pods cost little and their messages speak of their node.
var named = rule{
	name: "NodeAffinity", wakes: nodeAdded,
	prepare: func(c *cycle) (bool, *rejection) {
		c.named = namedNodes(c.pod.Pod)
		return c.named != nil, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		if !c.named[n.name] {
			return notNamed
		}
		return nil
	},
}

// nodeAffinity: nodeSelector and required node affinity.
var nodeAffinity = rule{
	name: "NodeAffinity", wakes: nodeAdded | nodeLabels,
	prepare: func(c *cycle) (bool, *rejection) {
		if !selectsNodes(c.pod.Pod) {
			return false, nil
		}
		c.required = nodeaffinity.GetRequiredNodeAffinity(c.pod.Pod)
		return true, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		if ok, err := c.required.Match(n.Node); err != nil || !ok {
			return unselected
		}
		return nil
	},
}

var (
	unselected = no(true, "node(s) didn't match Pod's node affinity/selector")
	notNamed   = no(true, "node(s) didn't satisfy plugin(s) [NodeAffinity]")
)

func selectsNodes(pod *corev1.Pod) bool {
	if len(pod.Spec.NodeSelector) > 0 {
		return true
	}
	a := pod.Spec.Affinity
	return a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
}

// namedNodes is the set of nodes that the affinity names one by one; nil if it does not.
func namedNodes(pod *corev1.Pod) map[string]bool {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	names := map[string]bool{}
	for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		byName := false
		for _, f := range t.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn {
				byName = true
				for _, name := range f.Values {
					names[name] = true
				}
			}
		}
		if !byName {
			return nil // this term can match any node
		}
	}
	return names
}

// Preferred node affinity: the weights of the terms that match.

func preparePreferredNodes(c *cycle, _ []*nodeInfo) bool {
	a := c.pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return false
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	c.preferred = terms
	return err == nil
}

func scorePreferredNodes(c *cycle, n *nodeInfo) int64 { return c.preferred.Score(n.Node) }
