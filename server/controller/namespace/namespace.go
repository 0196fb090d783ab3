// Package namespace empties namespaces that are being deleted and then lets them go.
//
// Pods go first, since they use the rest (KEP-5080); when no pod is left, everything else goes. What still stands is
// told in the namespace's conditions. With the rest go the objects that other API servers keep in the namespace; as long as
// one of these servers cannot say what it keeps, the namespace stays, because what it keeps would come back with it.
// When nothing is left the "kubernetes" finalizer is removed, and the registry removes the namespace.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const name = "namespace-controller"

// New returns the controller; its keys are namespaces. now stamps conditions; foreign may be nil.
func New(now func() metav1.Time, foreign controller.Foreign) controller.Controller {
	return controller.Controller{
		Name:    name,
		Workers: 4,
		Inputs: []controller.Input{{Keys: func(s client.Snapshot, e *store.Event) []string {
			key := e.Object.GetNamespace()
			if ns, ok := e.Object.(*corev1.Namespace); ok {
				key = ns.Name
			} else if key == "" {
				return nil
			}
			if ns, ok := client.Get[*corev1.Namespace](s, "", key); !ok || ns.DeletionTimestamp == nil {
				return nil
			}
			return []string{key}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			ns, ok := client.Get[*corev1.Namespace](c.Snapshot(), "", key)
			if !ok || ns.DeletionTimestamp == nil {
				return controller.Result{}, nil
			}
			return reconcile(ctx, c, foreign, ns, now())
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, foreign controller.Foreign, ns *corev1.Namespace, now metav1.Time) (result controller.Result, err error) {
	failed := apply(ctx, c, decide(observe(c, ns.Name)))
	left := observe(c, ns.Name)
	var undiscovered error
	if foreign != nil && !hasPods(left) {
		found, missing, err := emptyForeign(ctx, foreign, ns.Name)
		if len(found) > 0 {
			result.After = foreignRecheck
		}
		left, undiscovered, failed = append(left, found...), missing, errors.Join(failed, err)
	}
	if conditions, changed := decideConditions(ns.Status.Conditions, left, undiscovered, failed, now); changed {
		_, err := c.Mutate(ctx, ns, "status", func(obj api.Object) error {
			obj.(*corev1.Namespace).Status.Conditions = conditions
			return nil
		})
		if err != nil {
			return controller.Result{}, gone(err)
		}
	}
	if failed = errors.Join(undiscovered, failed); failed != nil || len(left) > 0 {
		return result, failed // a deletion of what is left wakes this loop again
	}
	_, err = c.Mutate(ctx, ns, "finalize", func(obj api.Object) error {
		next := obj.(*corev1.Namespace)
		var kept []corev1.FinalizerName
		for _, f := range next.Spec.Finalizers {
			if f != corev1.FinalizerKubernetes {
				kept = append(kept, f)
			}
		}
		next.Spec.Finalizers = kept
		return nil
	})
	return controller.Result{}, gone(err)
}

func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// content is the objects of one kind in the namespace.
type content struct {
	resource schema.GroupResource
	objects  []api.Object
}

var podResource = corev1.Resource("pods")

func hasPods(all []content) bool {
	return slices.ContainsFunc(all, func(found content) bool { return found.resource == podResource })
}

func observe(c *client.Client, namespace string) []content {
	snap := c.Snapshot()
	var all []content
	for _, kind := range c.Catalogue().Kinds() {
		if !kind.Namespaced || kind.Virtual {
			continue
		}
		found := content{resource: kind.GroupResource()}
		for obj := range snap.Snapshot.List(kind, namespace, "") {
			found.objects = append(found.objects, obj)
		}
		if len(found.objects) > 0 {
			all = append(all, found)
		}
	}
	return all
}

// decide returns the objects to delete now: the pods, and without pods everything that is not being deleted already.
func decide(all []content) []api.Object {
	var pods, others []api.Object
	for _, found := range all {
		for _, obj := range found.objects {
			switch {
			case obj.GetDeletionTimestamp() != nil:
			case found.resource == podResource:
				pods = append(pods, obj)
			default:
				others = append(others, obj)
			}
		}
	}
	if hasPods(all) {
		return pods
	}
	return others
}

func apply(ctx context.Context, c *client.Client, plan []api.Object) error {
	var errs []error
	for _, obj := range plan {
		if err := c.DeleteNow(ctx, obj); err != nil {
			errs = append(errs, fmt.Errorf("delete %s %s: %w", c.KindOf(obj).Plural, obj.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
