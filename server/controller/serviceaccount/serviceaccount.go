// Package serviceaccount keeps a ServiceAccount "default" in every active namespace, so that pods have an identity.
package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const name = "default"

// New returns the controller; its keys are namespaces.
func New() controller.Controller {
	return controller.Controller{
		Name: "service-account-controller",
		Inputs: []controller.Input{
			{Kind: &corev1.Namespace{}, Keys: func(_ client.Snapshot, e *store.Event) []string { return []string{e.Object.GetName()} }},
			{Kind: &corev1.ServiceAccount{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Type != store.Deleted || e.Object.GetName() != name {
					return nil
				}
				return []string{e.Object.GetNamespace()}
			}},
		},
		Reconcile: reconcile,
	}
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	snap := c.Snapshot()
	ns, ok := client.Get[*corev1.Namespace](snap, "", key)
	_, have := client.Get[*corev1.ServiceAccount](snap, key, name)
	if !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating || have {
		return controller.Result{}, nil
	}
	_, err := c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: key, Name: name}})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		err = nil
	}
	return controller.Result{}, err
}
