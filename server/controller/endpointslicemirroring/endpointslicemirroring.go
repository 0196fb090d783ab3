// Package endpointslicemirroring makes EndpointSlices of the Endpoints that people write by hand for Services without a selector,
// so that readers need to know slices only.
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	managedBy    = "endpointslicemirroring-controller.k8s.io"
	serviceIndex = discoveryv1.LabelServiceName
	// leaderAnnotation marks Endpoints that are a lock and name no service (before there were leases).
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// New returns the controller; its keys are Endpoints, "namespace/name", which is also the name of their Service.
func New() controller.Controller {
	return controller.Controller{
		Name:    "endpointslicemirroring-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &corev1.Endpoints{}, Keys: ownKey},
			{Kind: &corev1.Service{}, Keys: ownKey},
			{Kind: &discoveryv1.EndpointSlice{}, Keys: sliceKeys},
		},
		Reconcile: reconcile,
	}
}

func ownKey(_ client.Snapshot, e *store.Event) []string {
	return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
}

func sliceKeys(_ client.Snapshot, e *store.Event) (keys []string) {
	for _, obj := range []api.Object{e.Object, e.Old} {
		if obj == nil {
			continue
		}
		l := obj.GetLabels()
		if service := l[discoveryv1.LabelServiceName]; service != "" && l[discoveryv1.LabelManagedBy] == managedBy {
			keys = append(keys, obj.GetNamespace()+"/"+service)
		}
	}
	return keys
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	var have []*discoveryv1.EndpointSlice
	for slice := range client.ByIndex[*discoveryv1.EndpointSlice](snap, serviceIndex, key) {
		if slice.Labels[discoveryv1.LabelManagedBy] == managedBy && slice.DeletionTimestamp == nil {
			have = append(have, slice)
		}
	}
	service, _ := client.Get[*corev1.Service](snap, namespace, name)
	endpoints, _ := client.Get[*corev1.Endpoints](snap, namespace, name)
	if !mirrored(service, endpoints) {
		return controller.Result{}, apply(ctx, c, plan{remove: have})
	}
	return controller.Result{}, apply(ctx, c, decide(endpoints, have))
}

// mirrored tells whether the Endpoints (nil for none) are written by hand for a Service (nil for none).
func mirrored(service *corev1.Service, e *corev1.Endpoints) bool {
	if service == nil || e == nil || service.DeletionTimestamp != nil || e.DeletionTimestamp != nil || len(service.Spec.Selector) > 0 {
		return false
	}
	_, lock := e.Annotations[leaderAnnotation]
	return !lock && e.Labels[discoveryv1.LabelSkipMirror] != "true"
}

func apply(ctx context.Context, c *client.Client, p plan) error {
	var errs []error
	for _, slice := range p.create {
		if _, err := c.Create(ctx, slice); err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			errs = append(errs, fmt.Errorf("create endpoint slice: %w", err))
		}
	}
	for _, slice := range p.update {
		if _, err := c.Update(ctx, slice); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("update endpoint slice %s: %w", slice.Name, err))
		}
	}
	for _, slice := range p.remove {
		if err := c.DeleteNow(ctx, slice); err != nil {
			errs = append(errs, fmt.Errorf("delete endpoint slice %s: %w", slice.Name, err))
		}
	}
	return errors.Join(errs...)
}
