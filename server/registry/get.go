package registry

import (
	"context"
	"errors"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// freshness is how long a read waits for a revision that the cache has not reached yet.
const freshness = 3 * time.Second

// Get returns the stored object, or what a subresource shows of it.
func (r *Registry) Get(ctx context.Context, req Request, opts metav1.GetOptions) (runtime.Object, error) {
	sub, err := subresource(req)
	if err != nil {
		return nil, err
	}
	snap, err := r.atLeast(ctx, opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	obj := snap.Get(req.Kind, req.Namespace, req.Name)
	if obj == nil {
		return nil, missing(snap, req)
	}
	if obj, err = req.spoken(obj); err != nil {
		return nil, statusError(req.Kind, "get", req.Name, err)
	}
	if sub != nil && sub.Has != nil {
		if err := sub.Has(obj); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	return project(sub, obj)
}

// missing says why an object is not in a snapshot: it does not exist, or what is stored of it cannot be read.
func missing(snap *store.Snapshot, req Request) error {
	if err := snap.Unreadable(req.Kind, req.Namespace, req.Name); err != nil {
		return apierrors.NewInternalError(err)
	}
	return notFound(req.Kind, req.Name)
}

// atLeast returns the newest snapshot, once it is not older than the resourceVersion asked for ("" and "0": any).
func (r *Registry) atLeast(ctx context.Context, resourceVersion string) (*store.Snapshot, error) {
	rev, err := parseRevision(resourceVersion)
	if err != nil {
		return nil, err
	}
	return r.waitFor(ctx, rev)
}

func (r *Registry) waitFor(ctx context.Context, rev int64) (*store.Snapshot, error) {
	snap := r.store.Snapshot()
	if snap.Revision() >= rev {
		return snap, nil
	}
	wait, cancel := context.WithTimeout(ctx, freshness)
	defer cancel()
	err := r.store.WaitFor(wait, rev)
	snap = r.store.Snapshot()
	if snap.Revision() >= rev {
		return snap, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrFuture) {
		return nil, err
	}
	return nil, tooLarge(rev, snap.Revision())
}

func parseRevision(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, apierrors.NewBadRequest("invalid resource version: " + strconv.Quote(s) + " is not a number")
	}
	return n, nil
}

func revisionOf(obj api.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return n
}
