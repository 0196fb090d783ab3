package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// taintNodesByCondition keeps pods off a new node until the node lifecycle controller has seen it ready.
func taintNodesByCondition() registry.Plugin {
	notReady := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	return registry.Plugin{Name: "TaintNodesByCondition", Admit: func(_ context.Context, a *registry.Attributes) error {
		node, ok := a.Object.(*corev1.Node)
		if !ok || a.Verb != registry.VerbCreate || a.Subresource != "" {
			return nil
		}
		for _, t := range node.Spec.Taints {
			if t.MatchTaint(&notReady) {
				return nil
			}
		}
		node.Spec.Taints = append(node.Spec.Taints, notReady)
		return nil
	}}
}
