package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// limitAntiAffinity refuses pods that keep others away from more than their own node: one of them could have a whole
// zone for itself.
func limitAntiAffinity() registry.Plugin {
	return registry.Plugin{Name: "LimitPodHardAntiAffinityTopology", Validate: onPods(
		func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
				return nil
			}
			for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				if term.TopologyKey != corev1.LabelHostname {
					return forbidden(a, "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %v but only key %v is allowed",
						term.TopologyKey, corev1.LabelHostname)
				}
			}
			return nil
		}, registry.VerbCreate, registry.VerbUpdate)}
}
