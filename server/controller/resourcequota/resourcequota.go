// Package resourcequota tells in each ResourceQuota's status how much of it is used. It stops nobody: admission does, and adds up
// for itself. What an object uses, both have from server/registry/quota.
package resourcequota

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are ResourceQuotas, "namespace/name".
func New() controller.Controller {
	return controller.Controller{
		Name:      "resourcequota-controller",
		Workers:   4,
		Inputs:    []controller.Input{{Keys: keys}},
		Reconcile: reconcile,
	}
}

// keys: a quota itself, and the quotas of the namespace when an object of a kind that they count comes, goes, or uses another amount.
func keys(s client.Snapshot, e *store.Event) (out []string) {
	if quota, ok := e.Object.(*corev1.ResourceQuota); ok && e.Type != store.Deleted {
		out = append(out, quota.Namespace+"/"+quota.Name)
	}
	namespace := e.Object.GetNamespace()
	if namespace == "" || s.Count(s.Catalogue().ByObject(&corev1.ResourceQuota{}), namespace) == 0 || !matters(e) {
		return out
	}
	for quota := range client.List[*corev1.ResourceQuota](s, namespace) {
		if rules.UsesAny(e.Kind, quota.Spec.Hard) {
			out = append(out, quota.Namespace+"/"+quota.Name)
		}
	}
	return out
}

func matters(e *store.Event) bool {
	if e.Type != store.Modified || e.Old == nil {
		return true
	}
	return !equality.Semantic.DeepEqual(rules.UsageOf(e.Kind, e.Old), rules.UsageOf(e.Kind, e.Object)) || !sameScopes(e.Old, e.Object)
}

// sameScopes: what a scope looks at does not change in a pod, except its deadline.
func sameScopes(old, obj api.Object) bool {
	a, isPod := old.(*corev1.Pod)
	b, _ := obj.(*corev1.Pod)
	return !isPod || (a.Spec.ActiveDeadlineSeconds == nil) == (b.Spec.ActiveDeadlineSeconds == nil)
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	quota, ok := client.Get[*corev1.ResourceQuota](snap, namespace, name)
	if !ok || quota.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	want := corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: used(snap, quota)}
	if equality.Semantic.DeepEqual(quota.Status, want) {
		return controller.Result{}, nil
	}
	_, err := client.Change(ctx, c, quota, "status", func(next *corev1.ResourceQuota) { next.Status = *want.DeepCopy() })
	if controller.IgnoreGone(err) != nil {
		return controller.Result{}, fmt.Errorf("resource quota %s: %w", key, err)
	}
	return controller.Result{}, nil
}

// used adds up what the namespace has of each resource that the quota limits.
func used(s client.Snapshot, quota *corev1.ResourceQuota) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name := range quota.Spec.Hard {
		sum[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, kind := range s.Catalogue().Kinds() {
		if !rules.UsesAny(kind, quota.Spec.Hard) {
			continue
		}
		for obj := range s.Snapshot.List(kind, quota.Namespace, "") {
			if !rules.InScope(quota, obj) {
				continue
			}
			for name, amount := range rules.UsageOf(kind, obj) {
				if total, limited := sum[name]; limited {
					if total.IsZero() {
						total.Format = amount.Format
					}
					total.Add(amount)
					sum[name] = total
				}
			}
		}
	}
	return sum
}
