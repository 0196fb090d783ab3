package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// unschedulableNodes: kubectl cordon.
var unschedulableNodes = rule{
	name: "NodeUnschedulable", wakes: nodeAdded | nodeSpec,
	prepare: func(c *cycle) (bool, *rejection) {
		return !tolerates(c.pod.Spec.Tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}), nil
	},
	filter: func(_ *cycle, n *nodeInfo) *rejection {
		if n.Spec.Unschedulable {
			return cordoned
		}
		return nil
	},
}

// nodeName: a pod that names its node and still asks for a scheduler.
var nodeName = rule{
	name: "NodeName", wakes: nodeAdded,
	prepare: func(c *cycle) (bool, *rejection) { return c.pod.Spec.NodeName != "", nil },
	filter: func(c *cycle, n *nodeInfo) *rejection {
		if n.name != c.pod.Spec.NodeName {
			return otherName
		}
		return nil
	},
}

// taints that keep pods away.
var taints = rule{
	name: "TaintToleration", wakes: nodeAdded | nodeSpec,
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for i := range n.Spec.Taints {
			t := &n.Spec.Taints[i]
			if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.pod.Spec.Tolerations, t) {
				return tainted
			}
		}
		return nil
	},
}

var (
	cordoned  = no(true, "node(s) were unschedulable")
	otherName = no(true, "node(s) didn't match the requested node name")
	tainted   = no(true, "node(s) had untolerated taint(s)")
)

var quiet = klog.Logger{}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(quiet, taint, true) {
			return true
		}
	}
	return false
}

// The fewer PreferNoSchedule taints a node has that the pod does not tolerate, the better.

func preparePreferNoSchedule(c *cycle, feasible []*nodeInfo) bool {
	for _, n := range feasible {
		if scorePreferNoSchedule(c, n) > 0 {
			return true
		}
	}
	return false
}

func scorePreferNoSchedule(c *cycle, n *nodeInfo) (count int64) {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.pod.Spec.Tolerations, t) {
			count++
		}
	}
	return count
}
