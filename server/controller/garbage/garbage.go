// Package garbage deletes what its owners left behind, by metadata.ownerReferences, across all kinds, and carries out
// the propagation policies of deletions (foreground, background, orphan).
//
// It keeps no graph: the store's index on owner uids is the graph, and the snapshot is consistent over all kinds, so that an
// owner that is not in it does not exist. Only what other API servers keep has to be asked for (foreign.go).
//
//	owner deleted, background   owner goes at once; its dependents have no owner left and are deleted
//	owner deleted, foreground   owner waits with the finalizer foregroundDeletion until its blocking dependents are gone
//	owner deleted, orphan       owner waits with the finalizer orphan until no dependent refers to it
package garbage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// ownerIndex is kept by the store over every kind.
const ownerIndex = "metadata.ownerReferences.uid"

const name = "generic-garbage-collector"

// New returns the controller; its keys name an object of any kind, see keyOf, or are sweepKey. foreign may be nil.
func New(foreign controller.Foreign) controller.Controller {
	f := &foreigners{Foreign: foreign, owned: map[types.UID]map[string]bool{}}
	return controller.Controller{
		Name:    name,
		Workers: 8,
		Inputs: []controller.Input{{Keys: keys}, {Kind: &apiregistrationv1.APIService{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if svc, ok := e.Object.(*apiregistrationv1.APIService); !ok || svc.Spec.Service == nil || foreign == nil {
				return nil
			}
			return []string{sweepKey}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			if key == sweepKey {
				return f.sweep(ctx, c)
			}
			return controller.Result{}, f.reconcile(ctx, c, key)
		},
	}
}

func keyOf(kind *api.Kind, obj api.Object) string {
	return strings.Join([]string{kind.Group, kind.Plural, obj.GetNamespace(), obj.GetName()}, "|")
}

// keys: an object whose owners or deletion have to be looked at, the dependents of one that has gone, and the owner of a dependent that has gone.
func keys(s client.Snapshot, e *store.Event) (out []string) {
	obj := e.Object
	if e.Type == store.Deleted {
		for _, d := range dependents(s, obj.GetUID()) {
			out = append(out, keyOf(d.kind, d.obj))
		}
		for _, ref := range obj.GetOwnerReferences() {
			if owner := find(s, obj.GetNamespace(), ref); owner.obj != nil && owner.obj.GetDeletionTimestamp() != nil {
				out = append(out, keyOf(owner.kind, owner.obj))
			}
		}
		return out
	}
	if len(obj.GetOwnerReferences()) > 0 && !sameOwners(e) || waits(obj) {
		out = append(out, keyOf(e.Kind, obj))
	}
	if waits(obj) && !wasWaiting(e) {
		for _, d := range dependents(s, obj.GetUID()) {
			out = append(out, keyOf(d.kind, d.obj))
		}
	}
	// A dependent that lost its reference, or no longer blocks, may set its old owner free.
	if e.Old != nil && !sameOwners(e) {
		for _, ref := range e.Old.GetOwnerReferences() {
			if owner := find(s, obj.GetNamespace(), ref); owner.obj != nil && waits(owner.obj) {
				out = append(out, keyOf(owner.kind, owner.obj))
			}
		}
	}
	return out
}

func sameOwners(e *store.Event) bool {
	if e.Old == nil {
		return false
	}
	a, b := e.Old.GetOwnerReferences(), e.Object.GetOwnerReferences()
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].UID != b[i].UID || blocks(a[i]) != blocks(b[i]) {
			return false
		}
	}
	return true
}

func wasWaiting(e *store.Event) bool { return e.Old != nil && waits(e.Old) }

// waits tells whether the object is being deleted and this controller has to finish that.
func waits(obj api.Object) bool {
	return obj.GetDeletionTimestamp() != nil && (has(obj, metav1.FinalizerOrphanDependents) || has(obj, metav1.FinalizerDeleteDependents))
}

func has(obj api.Object, finalizer string) bool {
	for _, f := range obj.GetFinalizers() {
		if f == finalizer {
			return true
		}
	}
	return false
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// item is an object, of a kind here or of a resource of another server.
type item struct {
	kind    *api.Kind
	foreign *controller.ForeignResource
	obj     api.Object
}

func (i item) namespaced() bool {
	return i.kind != nil && i.kind.Namespaced || i.foreign != nil && i.foreign.Namespaced
}

func (i item) plural() string {
	if i.kind != nil {
		return i.kind.Plural
	}
	return i.foreign.Resource
}

func dependents(s client.Snapshot, uid types.UID) (out []item) {
	for _, kind := range s.Catalogue().Kinds() {
		if kind.Virtual {
			continue
		}
		for obj := range s.Snapshot.ByIndex(kind, ownerIndex, string(uid)) {
			out = append(out, item{kind: kind, obj: obj})
		}
	}
	return out
}

// find returns the object that a reference of a dependent in namespace means; obj is nil if it does not exist, kind is nil
// if no such kind is served.
func find(s client.Snapshot, namespace string, ref metav1.OwnerReference) item {
	kind := kindOf(s, ref)
	if kind == nil {
		return item{}
	}
	if !kind.Namespaced {
		namespace = ""
	}
	obj := s.Snapshot.Get(kind, namespace, ref.Name)
	if obj == nil || obj.GetUID() != ref.UID {
		return item{kind: kind}
	}
	return item{kind: kind, obj: obj}
}

func (f *foreigners) reconcile(ctx context.Context, c *client.Client, key string) error {
	part := strings.SplitN(key, "|", 4)
	snap := c.Snapshot()
	for _, kind := range c.Catalogue().Kinds() {
		if kind.Group != part[0] || kind.Plural != part[1] || kind.Virtual {
			continue
		}
		obj := snap.Snapshot.Get(kind, part[2], part[3])
		if obj == nil {
			return nil
		}
		return f.settle(ctx, c, observe(snap, item{kind: kind, obj: obj}))
	}
	return nil
}

// settle decides about one object and does it.
func (f *foreigners) settle(ctx context.Context, c *client.Client, h have) error {
	if err := f.complete(ctx, &h); err != nil {
		return err
	}
	plan, err := decide(h)
	return errors.Join(err, f.apply(ctx, c, plan))
}

// apply does the steps of a plan in order; what has gone or changed meanwhile is decided anew by the event that tells so.
func (f *foreigners) apply(ctx context.Context, c *client.Client, plan []step) error {
	for _, s := range plan {
		if err := f.applyStep(ctx, c, s); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (f *foreigners) applyStep(ctx context.Context, c *client.Client, s step) error {
	uid := s.target.obj.GetUID()
	switch s.verb {
	case deleteObject:
		policy := s.policy
		opts := metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}}
		if !s.changed {
			rv := s.target.obj.GetResourceVersion()
			opts.Preconditions.ResourceVersion = &rv
		}
		if s.target.foreign != nil {
			return f.remove(ctx, s.target, opts)
		}
		return c.Delete(ctx, s.target.obj, opts)
	case warnNamespace:
		c.Event(s.target.obj, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
			s.ref.APIVersion, s.ref.Kind, s.target.obj.GetNamespace(), s.ref.Name, s.ref.UID, s.target.obj.GetNamespace())
		return nil
	case unblockOwners:
		return f.mutate(ctx, c, s.target, func(obj api.Object) {
			refs := slices.Clone(obj.GetOwnerReferences())
			for i := range refs {
				if blocks(refs[i]) {
					refs[i].BlockOwnerDeletion = new(bool)
				}
			}
			obj.SetOwnerReferences(refs)
		})
	case dropOwners:
		return f.mutate(ctx, c, s.target, func(obj api.Object) {
			var kept []metav1.OwnerReference
			for _, ref := range obj.GetOwnerReferences() {
				if !s.owners[ref.UID] {
					kept = append(kept, ref)
				}
			}
			obj.SetOwnerReferences(kept)
		})
	case dropFinalizer:
		return f.mutate(ctx, c, s.target, func(obj api.Object) {
			var kept []string
			for _, f := range obj.GetFinalizers() {
				if f != s.finalizer {
					kept = append(kept, f)
				}
			}
			obj.SetFinalizers(kept)
		})
	}
	return fmt.Errorf("no such verb %q", s.verb)
}

func (f *foreigners) mutate(ctx context.Context, c *client.Client, target item, change func(api.Object)) error {
	if target.foreign != nil {
		return f.patch(ctx, target, change)
	}
	_, err := c.Mutate(ctx, target.obj, "", func(obj api.Object) error {
		if obj.GetUID() == target.obj.GetUID() {
			change(obj)
		}
		return nil
	})
	return err
}
