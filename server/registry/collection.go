package registry

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
)

// deleteWorkers delete a collection at once: the store commits the writes of many callers with one fsync.
const deleteWorkers = 64

// DeleteCollection deletes what the options select and returns the objects as they were.
func (r *Registry) DeleteCollection(ctx context.Context, req Request, list ListOptions, opts *metav1.DeleteOptions) (*List, error) {
	if req.Subresource != "" {
		return nil, methodNotSupported(req, "deletecollection")
	}
	found, err := r.List(ctx, req, list)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan api.Object)
	var wg sync.WaitGroup
	for range min(deleteWorkers, len(found.Items)) {
		wg.Go(func() {
			for obj := range work {
				if err := r.deleteOne(ctx, req, obj, opts); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for _, obj := range found.Items {
		select {
		case work <- obj:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, statusError(req.Kind, "delete", "", err)
	}
	return found, nil
}

// deleteOne deletes one of a collection; that somebody else did first is no error.
func (r *Registry) deleteOne(ctx context.Context, req Request, obj api.Object, opts *metav1.DeleteOptions) error {
	req.Namespace, req.Name = obj.GetNamespace(), obj.GetName()
	_, _, err := r.Delete(ctx, req, opts.DeepCopy())
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
