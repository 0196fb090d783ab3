package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// denyExternalIPs keeps Services from taking addresses that they did not have: who may write a Service could else catch
// traffic that is meant for others (CVE-2020-8554).
func denyExternalIPs() registry.Plugin {
	return registry.Plugin{Name: "DenyServiceExternalIPs", Validate: func(_ context.Context, a *registry.Attributes) error {
		svc, ok := a.Object.(*corev1.Service)
		if !ok || a.Subresource != "" || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
			return nil
		}
		var had []string
		if old, ok := a.Old.(*corev1.Service); ok {
			had = old.Spec.ExternalIPs
		}
		for _, ip := range svc.Spec.ExternalIPs {
			if !slices.Contains(had, ip) {
				return forbidden(a, "Use of external IPs is denied by admission control")
			}
		}
		return nil
	}}
}
