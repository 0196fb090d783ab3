package admission

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/features"
	"codeberg.org/skiff/skiff/server/registry"
)

// nodeFeatures refuses changes of a pod that its node, by what it declares, cannot follow.
func nodeFeatures(c *Config) registry.Plugin {
	return registry.Plugin{Name: "NodeDeclaredFeatureValidator", Validate: func(_ context.Context, a *registry.Attributes) error {
		pod, ok := a.Object.(*corev1.Pod)
		old, also := a.Old.(*corev1.Pod)
		if !ok || !also || a.Subresource != "" && a.Subresource != "resize" || a.Verb != registry.VerbUpdate || pod.Spec.NodeName == "" || pod.Generation == old.Generation {
			return nil
		}
		needed := features.NeededByUpdate(old, pod)
		if len(needed) == 0 {
			return nil
		}
		node, ok := get[*corev1.Node](c, "", pod.Spec.NodeName)
		if !ok {
			return forbidden(a, "node %q not found", pod.Spec.NodeName)
		}
		if missing := features.Missing(needed, node.Status.DeclaredFeatures); len(missing) > 0 {
			return forbidden(a, "pod update requires features %s which are not available on node %q", strings.Join(missing, ", "), node.Name)
		}
		return nil
	}}
}
