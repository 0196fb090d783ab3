// Package rootca keeps the ConfigMap kube-root-ca.crt, the cluster's CA bundle, in every active namespace: pods mount it
// beside their token to know the API server.
package rootca

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	name = "kube-root-ca.crt"
	file = "ca.crt"
)

// New returns the controller; its keys are namespaces. bundle is the CA bundle in PEM.
func New(bundle []byte) controller.Controller {
	return controller.Controller{
		Name: "root-ca-cert-publisher",
		Inputs: []controller.Input{
			{Kind: &corev1.Namespace{}, Keys: func(_ client.Snapshot, e *store.Event) []string { return []string{e.Object.GetName()} }},
			{Kind: &corev1.ConfigMap{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Object.GetName() != name {
					return nil
				}
				return []string{e.Object.GetNamespace()}
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return controller.Result{}, publish(ctx, c, key, string(bundle))
		},
	}
}

func publish(ctx context.Context, c *client.Client, namespace, bundle string) error {
	snap := c.Snapshot()
	ns, ok := client.Get[*corev1.Namespace](snap, "", namespace)
	if !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return nil
	}
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
			"kubernetes.io/description": "The cluster's certificate authority, by which a pod knows the API server when it uses its in-cluster address.",
		}},
		Data: map[string]string{file: bundle},
	}
	have, ok := client.Get[*corev1.ConfigMap](snap, namespace, name)
	var err error
	switch {
	case !ok:
		_, err = c.Create(ctx, want)
	case len(have.Data) == 1 && have.Data[file] == bundle:
		return nil
	default:
		want.ResourceVersion = have.ResourceVersion
		_, err = c.Update(ctx, want)
	}
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
