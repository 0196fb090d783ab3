// Package endpointslice keeps the EndpointSlices of every Service that has a selector.
//
// A pod's change touches one slice: endpoints stay in the slice they are in, new ones fill slices with room, and only what
// is left over makes a new one (at most 100 endpoints in each).
package endpointslice

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
	managedBy = "endpointslice-controller.k8s.io"
)

// New returns the controller; its keys are Services, "namespace/name".
func New() controller.Controller {
	return controller.Controller{
		Name:    "endpointslice-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &corev1.Service{}, Keys: backend.ServiceKey},
			{Kind: &corev1.Pod{}, Keys: backend.PodKeys},
			{Kind: &discoveryv1.EndpointSlice{}, Keys: sliceKeys},
			{Kind: &corev1.Node{}, Keys: zoneKeys},
		},
		Reconcile: reconcile,
	}
}

// sliceKeys: somebody changed or deleted a slice of a Service, or took it away by its labels.
func sliceKeys(_ client.Snapshot, e *store.Event) []string {
	if e.Type == store.Added {
		return nil
	}
	return backend.SliceKeys(e, managedBy)
}

// zoneKeys: when a node's zone changes, so do the endpoints on it.
func zoneKeys(s client.Snapshot, e *store.Event) (keys []string) {
	if e.Type != store.Modified || e.Old.GetLabels()[corev1.LabelTopologyZone] == e.Object.GetLabels()[corev1.LabelTopologyZone] {
		return nil
	}
	for service := range client.List[*corev1.Service](s, "") {
		keys = append(keys, service.Namespace+"/"+service.Name)
	}
	return keys
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	service, ok := client.Get[*corev1.Service](snap, namespace, name)
	if !ok || service.DeletionTimestamp != nil {
		return controller.Result{}, nil // the garbage collector follows the owner reference
	}
	have := backend.Slices(snap, key, managedBy)
	if !backend.Managed(service) {
		if service.Spec.Type == corev1.ServiceTypeExternalName {
			return controller.Result{}, plan{remove: have}.apply(ctx, c)
		}
		return controller.Result{}, nil
	}
	zones := func(node string) string {
		if n, ok := client.Get[*corev1.Node](snap, "", node); ok {
			return n.Labels[corev1.LabelTopologyZone]
		}
		return ""
	}
	return controller.Result{}, decide(service, backend.Pods(snap, service), zones, have).apply(ctx, c)
}

func (p plan) apply(ctx context.Context, c *client.Client) error {
	return backend.WriteSlices(ctx, c, p.create, p.update, p.remove)
}
