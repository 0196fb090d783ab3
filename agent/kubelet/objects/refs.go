package objects

import (
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/podrefs"
)

// References of a pod to ConfigMaps, Secrets and trust bundles: of its volumes, environment and image pulls. What it names beside
// these the kubelet does not follow.
func References(pod *corev1.Pod) []Ref {
	var out []Ref
	for r := range podrefs.Of(pod) {
		switch {
		case r.Resource == podrefs.ClusterTrustBundles:
			out = append(out, allTrustBundles)
		case r.Name == "":
		case r.Resource == podrefs.ConfigMaps:
			out = append(out, Ref{KindConfigMap, pod.Namespace, r.Name})
		case r.Resource == podrefs.Secrets:
			out = append(out, Ref{KindSecret, pod.Namespace, r.Name})
		}
	}
	return out
}
