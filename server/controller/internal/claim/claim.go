// Package claim sorts the dependents of a controller by its selector: what it has, what it should take, what it should let go.
//
// Of is pure. Apply writes owner references, and adopts nothing for an owner that is on its way out: what it adopted then
// would be deleted with it.
package claim

import (
	"context"
	"fmt"
	"iter"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// Claims are the dependents of one owner.
type Claims[T api.Object] struct {
	// Own are its dependents that match the selector.
	Own []T
	// Adopt match and have no controller; Release have it as their controller and do not match. An owner that is being deleted has neither.
	Adopt, Release []T
}

// Of sorts the objects of the owner's namespace. Those that a filter refuses count as not selected.
func Of[T api.Object](owner api.Object, selector labels.Selector, objects iter.Seq[T], filters ...func(T) bool) (c Claims[T]) {
	leaving := owner.GetDeletionTimestamp() != nil
	for obj := range objects {
		ref, matches := metav1.GetControllerOfNoCopy(obj), !selector.Empty() && selector.Matches(labels.Set(obj.GetLabels()))
		for _, accepts := range filters {
			matches = matches && accepts(obj)
		}
		switch {
		case ref != nil && ref.UID == owner.GetUID() && matches:
			c.Own = append(c.Own, obj)
		case ref != nil && ref.UID == owner.GetUID() && !leaving:
			c.Release = append(c.Release, obj)
		case ref == nil && matches && !leaving && obj.GetDeletionTimestamp() == nil:
			c.Adopt = append(c.Adopt, obj)
		}
	}
	return c
}

// Settled tells whether there is nothing to adopt or release.
func (c Claims[T]) Settled() bool { return len(c.Adopt)+len(c.Release) == 0 }

// Apply adopts and releases. The events of what it changed wake the owner's loop again.
func (c Claims[T]) Apply(ctx context.Context, cl *client.Client, owner api.Object, gvk schema.GroupVersionKind) error {
	for _, obj := range c.Release {
		if err := setOwner(ctx, cl, obj, owner, nil); err != nil {
			return fmt.Errorf("release %s: %w", obj.GetName(), err)
		}
	}
	if len(c.Adopt) > 0 && !Adopts(cl, owner) {
		return nil
	}
	ref := metav1.NewControllerRef(owner, gvk)
	for _, obj := range c.Adopt {
		if err := setOwner(ctx, cl, obj, owner, ref); err != nil {
			return fmt.Errorf("adopt %s: %w", obj.GetName(), err)
		}
	}
	return nil
}

func setOwner[T api.Object](ctx context.Context, c *client.Client, obj T, owner api.Object, ref *metav1.OwnerReference) error {
	_, err := client.Change(ctx, c, obj, "", func(next T) {
		refs := slices.DeleteFunc(slices.Clone(next.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() })
		if ref != nil && next.GetDeletionTimestamp() == nil && metav1.GetControllerOfNoCopy(next) == nil {
			refs = append(refs, *ref)
		}
		next.SetOwnerReferences(refs)
	})
	return controller.IgnoreGone(err)
}

// Adopts tells whether owner, as it is in the newest snapshot, is there to stay and may take dependents.
func Adopts(c *client.Client, owner api.Object) bool {
	now := c.Snapshot().Snapshot.Get(c.KindOf(owner), owner.GetNamespace(), owner.GetName())
	return now != nil && now.GetUID() == owner.GetUID() && now.GetDeletionTimestamp() == nil
}
