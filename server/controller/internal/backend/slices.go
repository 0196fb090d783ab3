package backend

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// SliceKeys are the Services that a slice of managedBy names, or did before the event.
func SliceKeys(e *store.Event, managedBy string) (keys []string) {
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

// Slices of a Service ("namespace/name") that are managedBy's and stay.
func Slices(s client.Snapshot, service, managedBy string) (out []*discoveryv1.EndpointSlice) {
	for slice := range client.ByIndex[*discoveryv1.EndpointSlice](s, discoveryv1.LabelServiceName, service) {
		if slice.Labels[discoveryv1.LabelManagedBy] == managedBy && slice.DeletionTimestamp == nil {
			out = append(out, slice)
		}
	}
	return out
}

// WriteSlices carries out a plan: all of it, whatever fails. A namespace that is going and a slice that has gone are no errors.
func WriteSlices(ctx context.Context, c *client.Client, create, update, remove []*discoveryv1.EndpointSlice) error {
	var errs []error
	for _, slice := range create {
		if _, err := c.Create(ctx, slice); err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			errs = append(errs, fmt.Errorf("create endpoint slice: %w", err))
		}
	}
	for _, slice := range update {
		if _, err := c.Update(ctx, slice); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("update endpoint slice %s: %w", slice.Name, err))
		}
	}
	for _, slice := range remove {
		if err := c.DeleteNow(ctx, slice); err != nil {
			errs = append(errs, fmt.Errorf("delete endpoint slice %s: %w", slice.Name, err))
		}
	}
	return errors.Join(errs...)
}
