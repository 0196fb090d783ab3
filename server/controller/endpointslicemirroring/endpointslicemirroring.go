// Package endpointslicemirroring makes EndpointSlices of the Endpoints that people write by hand for Services without a selector,
// so that readers need to know slices only.
package endpointslicemirroring

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/backend"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// leaderAnnotation marks Endpoints that are a lock and name no service (before there were leases).
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// New returns the controller; its keys are Endpoints, "namespace/name", which is also the name of their Service.
func New() controller.Controller {
	return controller.Controller{
		Name:    "endpointslicemirroring-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &corev1.Endpoints{}, Keys: backend.ServiceKey},
			{Kind: &corev1.Service{}, Keys: backend.ServiceKey},
			{Kind: &discoveryv1.EndpointSlice{}, Keys: sliceKeys},
		},
		Reconcile: reconcile,
	}
}

func sliceKeys(_ client.Snapshot, e *store.Event) []string { return backend.SliceKeys(e, managedBy) }

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	have := backend.Slices(snap, key, managedBy)
	service, _ := client.Get[*corev1.Service](snap, namespace, name)
	endpoints, _ := client.Get[*corev1.Endpoints](snap, namespace, name)
	if !mirrored(service, endpoints) {
		return controller.Result{}, plan{remove: have}.apply(ctx, c)
	}
	return controller.Result{}, decide(endpoints, have).apply(ctx, c)
}

// mirrored tells whether the Endpoints (nil for none) are written by hand for a Service (nil for none).
func mirrored(service *corev1.Service, e *corev1.Endpoints) bool {
	if service == nil || e == nil || service.DeletionTimestamp != nil || e.DeletionTimestamp != nil || len(service.Spec.Selector) > 0 {
		return false
	}
	_, lock := e.Annotations[leaderAnnotation]
	return !lock && e.Labels[discoveryv1.LabelSkipMirror] != "true"
}

func (p plan) apply(ctx context.Context, c *client.Client) error {
	return backend.WriteSlices(ctx, c, p.create, p.update, p.remove)
}
