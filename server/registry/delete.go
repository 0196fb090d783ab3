package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Delete begins or finishes the deletion of an object, by grace period, finalizers and propagation policy. done is false
// when the object is still there (then obj is its new state).
//
//	             delete            delete with grace 0, or kubelet's last delete
//	alive ──▶ deletionTimestamp set, grace running ──▶ grace 0 ──▶ finalizers empty ──▶ gone
//	  │            (kinds with GracePeriod)              ▲              ▲
//	  ├──── finalizers to wait for ──────────────────────┘              │
//	  └──── nothing to wait for ────────────────────────────────────────┘
func (r *Registry) Delete(ctx context.Context, req Request, opts *metav1.DeleteOptions) (obj runtime.Object, done bool, err error) {
	if req.Subresource != "" {
		return nil, false, methodNotSupported(req, "delete")
	}
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	if errs := metavalidation.ValidateDeleteOptions(opts); len(errs) > 0 {
		return nil, false, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	req.DryRun = req.DryRun || len(opts.DryRun) > 0
	for attempt := 0; ; attempt++ {
		out, done, err := r.deleteOnce(ctx, req, opts)
		if err == nil {
			return out, done, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, false, statusError(req.Kind, "delete", req.Name, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, false, statusError(req.Kind, "delete", req.Name, err)
		}
	}
}

// ReturnsDeleted says whether a finished delete of the kind answers with the object's last state; the others answer
// with a Status, as upstream does.
func ReturnsDeleted(k *api.Kind) bool {
	switch k.Group {
	case "":
		switch k.Plural {
		case "pods", "services", "serviceaccounts", "namespaces", "persistentvolumes", "persistentvolumeclaims", "podtemplates", "resourcequotas":
			return true
		}
	case "storage.k8s.io":
		switch k.Plural {
		case "storageclasses", "csinodes", "volumeattachments", "csidrivers", "volumeattributesclasses":
			return true
		}
	case "resource.k8s.io":
		return true
	}
	return false
}

func (r *Registry) deleteOnce(ctx context.Context, req Request, opts *metav1.DeleteOptions) (api.Object, bool, error) {
	snap := r.store.Snapshot()
	old := snap.Get(req.Kind, req.Namespace, req.Name)
	if old == nil {
		return r.deleteUnreadable(ctx, snap, req, opts)
	}
	if err := checkDeletePreconditions(req.Kind, opts.Preconditions, old); err != nil {
		return nil, false, err
	}
	a := &Attributes{Request: req, Verb: VerbDelete, Old: req.spokenIfPossible(old), Options: opts}
	stored := false
	defer func() { a.finish(stored) }()
	if err := r.admit(ctx, a); err != nil {
		return nil, false, err
	}
	if err := r.validate(ctx, a); err != nil {
		return nil, false, err
	}
	next, gone := decideDelete(req.Kind, old, opts, r.now())
	out, err := r.applyDelete(ctx, req, old, next, gone)
	if stored = err == nil; !stored {
		return nil, gone, err
	}
	return req.spokenIfPossible(out), gone, nil
}

// deleteUnreadable removes what is stored but cannot be read, if the caller says that this is meant: nobody can tell what
// finalizers and owners it had, so none of them is asked.
func (r *Registry) deleteUnreadable(ctx context.Context, snap *store.Snapshot, req Request, opts *metav1.DeleteOptions) (api.Object, bool, error) {
	ignore := opts.IgnoreStoreReadErrorWithClusterBreakingPotential
	if ignore == nil || !*ignore || snap.Unreadable(req.Kind, req.Namespace, req.Name) == nil {
		return nil, false, missing(snap, req)
	}
	if req.DryRun {
		obj := req.Kind.Hub().New()
		obj.SetNamespace(req.Namespace)
		obj.SetName(req.Name)
		return obj, true, nil
	}
	obj, err := r.store.Delete(ctx, req.Kind, req.Namespace, req.Name, 0)
	return obj, true, err
}

func checkDeletePreconditions(k *api.Kind, p *metav1.Preconditions, old api.Object) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != old.GetUID() {
		return conflict(k, old.GetName(), "the UID in the precondition (%s) does not match the UID in record (%s). "+
			"The object might have been deleted and then recreated", *p.UID, old.GetUID())
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
		return conflict(k, old.GetName(), "the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). "+
			"The object might have been modified", *p.ResourceVersion, old.GetResourceVersion())
	}
	return nil
}

func (r *Registry) applyDelete(ctx context.Context, req Request, old, next api.Object, gone bool) (api.Object, error) {
	switch {
	case next == nil && !gone: // it is on its way already
		return old, nil
	case req.DryRun && gone:
		return old, nil
	case req.DryRun:
		return next, nil
	case gone:
		return r.store.Delete(ctx, req.Kind, old.GetNamespace(), old.GetName(), revisionOf(old))
	}
	return r.store.Update(store.WithReserve(ctx), req.Kind, next, revisionOf(old))
}

// decideDelete says what a delete does to old: next is the state to store (nil: none), gone that it leaves the store.
func decideDelete(k *api.Kind, old api.Object, opts *metav1.DeleteOptions, now time.Time) (next api.Object, gone bool) {
	obj := old.DeepCopyObject().(api.Object)
	graceful, pending := startGrace(k, obj, opts, now)
	if pending {
		return nil, false
	}
	if obj.GetDeletionTimestamp() == nil && k.BeginDelete != nil {
		k.BeginDelete(obj, now)
	}
	finalizers := deletionFinalizers(k, obj, opts)
	changed := !slices.Equal(finalizers, old.GetFinalizers())
	obj.SetFinalizers(finalizers)
	if graceful && *obj.GetDeletionGracePeriodSeconds() > 0 {
		return obj, false
	}
	if len(finalizers) == 0 && !held(obj) {
		return nil, true
	}
	marked := markDeleted(obj, now)
	if !marked && !changed && !graceful {
		return nil, false
	}
	return obj, false
}

// startGrace begins or shortens the grace period of a kind that has one. pending: it runs already, and is not longer
// than what was asked for.
func startGrace(k *api.Kind, obj api.Object, opts *metav1.DeleteOptions, now time.Time) (graceful, pending bool) {
	if k.GracePeriod == nil {
		return false, false
	}
	asked := opts.GracePeriodSeconds
	if asked != nil && *asked < 0 {
		one := int64(1)
		asked = &one
	}
	if obj.GetDeletionTimestamp() != nil {
		return shortenGrace(obj, asked, now)
	}
	grace := k.GracePeriod(obj, asked)
	if grace <= 0 {
		return false, false
	}
	setDeletion(obj, now.Add(time.Duration(grace)*time.Second), grace)
	if g := obj.GetGeneration(); g > 0 {
		obj.SetGeneration(g + 1)
	}
	return true, false
}

func shortenGrace(obj api.Object, asked *int64, now time.Time) (graceful, pending bool) {
	have := obj.GetDeletionGracePeriodSeconds()
	if have == nil || *have == 0 {
		return false, false
	}
	if asked == nil || *asked >= *have {
		return false, true
	}
	grace := *asked
	at := obj.GetDeletionTimestamp().Add(time.Duration(grace-*have) * time.Second)
	if at.Before(now) {
		at = now
		if grace != 0 {
			grace = 1
		}
	}
	setDeletion(obj, at, grace)
	return true, false
}

func setDeletion(obj api.Object, at time.Time, grace int64) {
	t := metav1.NewTime(at.Truncate(time.Second))
	obj.SetDeletionTimestamp(&t)
	obj.SetDeletionGracePeriodSeconds(&grace)
}

// markDeleted sets the deletion's begin on an object that something holds, and says whether that changed it.
func markDeleted(obj api.Object, now time.Time) bool {
	if grace := obj.GetDeletionGracePeriodSeconds(); obj.GetDeletionTimestamp() != nil && (grace == nil || *grace == 0) {
		return false
	}
	if obj.GetDeletionTimestamp() == nil {
		if g := obj.GetGeneration(); g > 0 {
			obj.SetGeneration(g + 1)
		}
		setDeletion(obj, now, 0)
	} else {
		setDeletion(obj, obj.GetDeletionTimestamp().Time, 0)
	}
	terminating(obj)
	return true
}

// deletionFinalizers are the object's finalizers with those of the propagation policy: "orphan" or "foregroundDeletion"
// make the garbage collector act on the dependents first.
func deletionFinalizers(k *api.Kind, obj api.Object, opts *metav1.DeleteOptions) []string {
	have := obj.GetFinalizers()
	policy := propagation(k, have, opts)
	want := make([]string, 0, len(have)+1)
	for _, f := range have {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			want = append(want, f)
		}
	}
	switch policy {
	case metav1.DeletePropagationOrphan:
		want = append(want, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		want = append(want, metav1.FinalizerDeleteDependents)
	}
	if sameNames(want, have) {
		return have
	}
	return want
}

// propagation is the policy that the options ask for, else the one the object's finalizers already hold, else the kind's.
func propagation(k *api.Kind, finalizers []string, opts *metav1.DeleteOptions) metav1.DeletionPropagation {
	switch {
	case opts.OrphanDependents != nil && *opts.OrphanDependents:
		return metav1.DeletePropagationOrphan
	case opts.OrphanDependents != nil:
		return metav1.DeletePropagationBackground
	case opts.PropagationPolicy != nil:
		return *opts.PropagationPolicy
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return k.DefaultPropagation
}

// sameNames compares as sets: neither list holds a name twice.
func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, name := range a {
		if !slices.Contains(b, name) {
			return false
		}
	}
	return true
}
