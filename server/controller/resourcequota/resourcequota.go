// Package resourcequota tells in each ResourceQuota's status how much of it is used. It stops nobody: admission does, and adds up
// for itself. What an object uses, both have from server/registry/quota.
package resourcequota

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are ResourceQuotas, "namespace/name".
func New(now func() time.Time) controller.Controller {
	r := &reconciler{now: now}
	return controller.Controller{
		Name:      "resourcequota-controller",
		Workers:   4,
		Inputs:    []controller.Input{{Keys: func(s client.Snapshot, e *store.Event) []string { return keys(s, e, now) }}},
		Reconcile: r.reconcile,
	}
}

// keys: a quota itself, and the quotas of the namespace when an object of a kind that they count comes, goes, or uses
// another amount; all that count devices when a device class gets another name.
func keys(s client.Snapshot, e *store.Event, now func() time.Time) (out []string) {
	quota, isQuota := e.Object.(*corev1.ResourceQuota)
	if isQuota && e.Type != store.Deleted {
		out = append(out, quota.Namespace+"/"+quota.Name)
	}
	namespace, kind := e.Object.GetNamespace(), e.Kind
	if class, ok := e.Object.(*resourcev1.DeviceClass); ok {
		if old, ok := e.Old.(*resourcev1.DeviceClass); ok && e.Type == store.Modified && equality.Semantic.DeepEqual(old.Spec.ExtendedResourceName, class.Spec.ExtendedResourceName) {
			return nil
		}
		kind = s.Catalogue().ByObject(&resourcev1.ResourceClaim{})
	} else if namespace == "" || s.Count(s.Catalogue().ByObject(&corev1.ResourceQuota{}), namespace) == 0 || !matters(viewOf(s, now), e) {
		return out
	}
	for quota := range client.List[*corev1.ResourceQuota](s, namespace) {
		if rules.UsesAny(kind, quota.Spec.Hard) {
			out = append(out, quota.Namespace+"/"+quota.Name)
		}
	}
	return out
}

// matters tells whether an event changes what some quota counts.
func matters(v rules.View, e *store.Event) bool {
	if e.Type != store.Modified || e.Old == nil {
		return true
	}
	return dying(e.Old) != dying(e.Object) || !rules.SameScopes(e.Old, e.Object) ||
		!equality.Semantic.DeepEqual(v.Usage(e.Kind, e.Old), v.Usage(e.Kind, e.Object))
}

// dying pods stop to be counted at some time.
func dying(obj api.Object) bool { return obj.GetDeletionTimestamp() != nil }

func viewOf(s client.Snapshot, now func() time.Time) rules.View {
	return rules.View{Catalogue: s.Catalogue(), Snapshot: s.Snapshot, Now: now()}
}

// reconciler keeps what it has added up once.
type reconciler struct {
	now  func() time.Time
	once sync.Once
	book *rules.Book
}

func (r *reconciler) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	r.once.Do(func() { r.book = rules.NewBook(c.Catalogue(), c.Since) })
	namespace, name, _ := strings.Cut(key, "/")
	quota, ok := client.Get[*corev1.ResourceQuota](c.Snapshot(), namespace, name)
	if !ok || quota.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	now := r.now()
	used, _, next := r.book.Used(quota, now)
	var result controller.Result
	if !next.IsZero() {
		result.After = next.Sub(now) + time.Second
	}
	want := corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: used}
	if equality.Semantic.DeepEqual(quota.Status, want) {
		return result, nil
	}
	_, err := client.Change(ctx, c, quota, "status", func(next *corev1.ResourceQuota) { next.Status = *want.DeepCopy() })
	if controller.IgnoreGone(err) != nil {
		return controller.Result{}, fmt.Errorf("resource quota %s: %w", key, err)
	}
	return result, nil
}
