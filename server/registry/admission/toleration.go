package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// DefaultTolerationSeconds a pod stays on a node that is not ready or unreachable.
const DefaultTolerationSeconds = int64(300)

// defaultTolerationSeconds lets pods stay a while on a node in trouble, unless they say something else.
func defaultTolerationSeconds(c *Config) registry.Plugin {
	wait := map[string]*int64{corev1.TaintNodeNotReady: c.NotReadySeconds, corev1.TaintNodeUnreachable: c.UnreachableSeconds}
	return registry.Plugin{Name: "DefaultTolerationSeconds", Admit: onPods(
		func(_ context.Context, _ *registry.Attributes, pod, _ *corev1.Pod) error {
			for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
				if tolerates(pod, key) {
					continue
				}
				seconds := DefaultTolerationSeconds
				if given := wait[key]; given != nil {
					seconds = *given
				}
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
					Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
				})
			}
			return nil
		}, registry.VerbCreate, registry.VerbUpdate)}
}

func tolerates(pod *corev1.Pod, key string) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
