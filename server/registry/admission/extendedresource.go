package admission

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// extendedResourceToleration lets pods that ask for a device onto the nodes that are kept for pods which do.
func extendedResourceToleration() registry.Plugin {
	return registry.Plugin{Name: "ExtendedResourceToleration", Admit: onPods(
		func(_ context.Context, _ *registry.Attributes, pod, _ *corev1.Pod) error {
			devices := map[corev1.ResourceName]bool{}
			for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for i := range list {
					for name := range list[i].Resources.Requests {
						if api.IsExtendedResource(name) {
							devices[name] = true
						}
					}
				}
			}
			for _, name := range slices.Sorted(maps.Keys(devices)) {
				pod.Spec.Tolerations = withToleration(pod.Spec.Tolerations,
					corev1.Toleration{Key: string(name), Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
			}
			return nil
		}, registry.VerbCreate, registry.VerbUpdate)}
}

// withToleration is list with t, in the place of what t replaces, or at the end.
func withToleration(list []corev1.Toleration, t corev1.Toleration) []corev1.Toleration {
	out := make([]corev1.Toleration, 0, len(list)+1)
	replaced := false
	for i := range list {
		switch {
		case !t.MatchToleration(&list[i]):
			out = append(out, list[i])
		case apiequality.Semantic.DeepEqual(t, list[i]):
			return list
		default:
			out = append(out, t)
			replaced = true
		}
	}
	if !replaced {
		out = append(out, t)
	}
	return out
}
