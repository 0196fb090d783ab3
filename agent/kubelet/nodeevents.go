package kubelet

import (
	corev1 "k8s.io/api/core/v1"
)

// nodeReasons are the reasons of events about a condition of the node: when it is true, and when it is not.
var nodeReasons = []struct {
	condition corev1.NodeConditionType
	yes, no   string
}{
	{corev1.NodeMemoryPressure, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
	{corev1.NodeDiskPressure, "NodeHasDiskPressure", "NodeHasNoDiskPressure"},
	{corev1.NodePIDPressure, "NodeHasInsufficientPID", "NodeHasSufficientPID"},
	{corev1.NodeReady, "NodeReady", "NodeNotReady"},
}

// conditionEvents are the reasons to tell when the node's conditions change. It is pure.
func conditionEvents(before, now []corev1.NodeCondition) (reasons []string) {
	status := func(list []corev1.NodeCondition, t corev1.NodeConditionType) corev1.ConditionStatus {
		for i := range list {
			if list[i].Type == t {
				return list[i].Status
			}
		}
		return ""
	}
	for _, r := range nodeReasons {
		switch s := status(now, r.condition); {
		case s == status(before, r.condition) || s == "":
		case s == corev1.ConditionTrue:
			reasons = append(reasons, r.yes)
		case s == corev1.ConditionFalse:
			reasons = append(reasons, r.no)
		}
	}
	return reasons
}

// tellConditions records what has changed in the node's status that was just written.
func (n *node) tellConditions(before, now *corev1.NodeStatus) {
	for _, reason := range conditionEvents(before.Conditions, now.Conditions) {
		n.tellStatus(reason)
	}
	if b := before.NodeInfo.BootID; b != "" && b != n.machine.info.BootID {
		n.k.events.onNode(corev1.EventTypeWarning, "Rebooted", "Node %s has been rebooted, boot id: %s", n.k.cfg.NodeName, n.machine.info.BootID)
	}
}

// tellSchedulable records that somebody closed the node for new pods, or opened it.
func (n *node) tellSchedulable(before, now *corev1.Node) {
	if before == nil && !now.Spec.Unschedulable || before != nil && before.Spec.Unschedulable == now.Spec.Unschedulable {
		return
	}
	if now.Spec.Unschedulable {
		n.tellStatus("NodeNotSchedulable")
	} else {
		n.tellStatus("NodeSchedulable")
	}
}

func (n *node) tellStatus(reason string) {
	n.k.events.onNode(corev1.EventTypeNormal, reason, "Node %s status is now: %s", n.k.cfg.NodeName, reason)
}
