package garbage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// Objects that other API servers keep are in no snapshot. As long as there is such a server, a sweep lists what it keeps
// every sweepEvery, which finds dependents without owners there, and here those of owners that were there.
const (
	sweepKey   = "sweep"
	nobody     = types.UID("") // an owner that is never alive: what it owns is looked at again in each sweep
	sweepEvery = 10 * time.Second
	pageSize   = 500
)

// foreigners is what the controller knows of other servers. Without any of them it does nothing.
type foreigners struct {
	controller.Foreign // may be nil

	mu sync.Mutex
	// owned are the keys of objects here, by the uid of an owner that another server keeps.
	owned map[types.UID]map[string]bool
}

func (f *foreigners) resources() []controller.ForeignResource {
	if f.Foreign == nil {
		return nil
	}
	served, _ := f.Resources()
	return served
}

func (f *foreigners) own(owner types.UID, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owned[owner] == nil {
		f.owned[owner] = map[string]bool{}
	}
	f.owned[owner][key] = true
}

// release returns the keys of an owner that may be gone; their next turn tells whether it is.
func (f *foreigners) release(keeps func(owner types.UID) bool) (keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for owner, owned := range f.owned {
		if keeps(owner) {
			continue
		}
		for key := range owned {
			keys = append(keys, key)
		}
		delete(f.owned, owner)
	}
	return keys
}

// to is the way to the objects of a resource.
func (f *foreigners) to(r *controller.ForeignResource, namespace string) (metadata.ResourceInterface, error) {
	c, err := f.Metadata(name)
	if err != nil {
		return nil, err
	}
	if !r.Namespaced {
		return c.Resource(r.GroupVersionResource), nil
	}
	return c.Resource(r.GroupVersionResource).Namespace(namespace), nil
}

// complete asks the other servers for what the snapshot cannot tell of an object's owners and dependents.
func (f *foreigners) complete(ctx context.Context, h *have) error {
	resources := f.resources()
	if len(resources) == 0 {
		return nil
	}
	for i := range h.owners {
		o := &h.owners[i]
		if !o.unknown {
			continue
		}
		r := resourceOf(resources, o.ref)
		if r == nil {
			continue
		}
		obj, err := f.get(ctx, r, h.obj.GetNamespace(), o.ref)
		if err != nil {
			return fmt.Errorf("owner %s %s: %w", r.GroupResource(), o.ref.Name, err)
		}
		o.unknown, o.foreign, o.item = false, r.Namespaced && !h.namespaced(), item{foreign: r, obj: obj}
		if obj != nil && h.kind != nil {
			f.own(o.ref.UID, keyOf(h.kind, h.obj))
		}
	}
	if !waits(h.obj) {
		return nil
	}
	uid := h.obj.GetUID()
	found, err := f.list(ctx, resources, func(obj api.Object) bool {
		return slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == uid })
	})
	h.dependents = append(h.dependents, found...)
	if len(found) > 0 && h.kind != nil {
		f.own(nobody, keyOf(h.kind, h.obj)) // no event tells when they are gone
	}
	return err
}

// resourceOf is the resource that a reference names, in whichever version it says.
func resourceOf(resources []controller.ForeignResource, ref metav1.OwnerReference) *controller.ForeignResource {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil
	}
	for i := range resources {
		if resources[i].Group == gv.Group && resources[i].Kind == ref.Kind && resources[i].Can("get") {
			return &resources[i]
		}
	}
	return nil
}

// get returns the object that a reference means; nil if it does not exist.
func (f *foreigners) get(ctx context.Context, r *controller.ForeignResource, namespace string, ref metav1.OwnerReference) (api.Object, error) {
	if r.Namespaced && namespace == "" {
		return nil, nil
	}
	c, err := f.to(r, namespace)
	if err != nil {
		return nil, err
	}
	obj, err := c.Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case obj.UID != ref.UID:
		return nil, nil
	}
	return obj, nil
}

// list returns the objects, of all resources that can be collected, which are wanted.
func (f *foreigners) list(ctx context.Context, resources []controller.ForeignResource, wanted func(api.Object) bool) (found []item, err error) {
	var failed []error
	for i := range resources {
		r := &resources[i]
		if !r.Can("list", "delete") {
			continue
		}
		c, err := f.to(r, "")
		if err != nil {
			return nil, err
		}
		for opts := (metav1.ListOptions{Limit: pageSize}); ; {
			page, err := c.List(ctx, opts)
			if err != nil {
				failed = append(failed, fmt.Errorf("list %s: %w", r.GroupResource(), err))
				break
			}
			for j := range page.Items {
				if wanted(&page.Items[j]) {
					found = append(found, item{foreign: r, obj: &page.Items[j]})
				}
			}
			if opts.Continue = page.Continue; opts.Continue == "" {
				break
			}
		}
	}
	return found, errors.Join(failed...)
}

// sweep looks at everything that other servers keep, and at what it owns here. It comes back as long as there are such servers.
func (f *foreigners) sweep(ctx context.Context, c *client.Client) (controller.Result, error) {
	snap := c.Snapshot()
	if !hasForeign(snap) {
		return controller.Result{}, nil
	}
	alive := map[types.UID]bool{}
	found, err := f.list(ctx, f.resources(), func(obj api.Object) bool {
		alive[obj.GetUID()] = obj.GetDeletionTimestamp() == nil
		return len(obj.GetOwnerReferences()) > 0 || waits(obj)
	})
	failed := []error{err}
	for _, it := range found {
		failed = append(failed, f.settle(ctx, c, observe(snap, it)))
	}
	for _, key := range f.release(func(owner types.UID) bool { return alive[owner] }) {
		failed = append(failed, f.reconcile(ctx, c, key))
	}
	return controller.Result{After: sweepEvery}, errors.Join(failed...)
}

// hasForeign tells whether any APIService is of another server.
func hasForeign(s client.Snapshot) bool {
	for svc := range client.List[*apiregistrationv1.APIService](s, "") {
		if svc.Spec.Service != nil {
			return true
		}
	}
	return false
}

// remove deletes an object that another server keeps.
func (f *foreigners) remove(ctx context.Context, it item, opts metav1.DeleteOptions) error {
	c, err := f.to(it.foreign, it.obj.GetNamespace())
	if err != nil {
		return err
	}
	return c.Delete(ctx, it.obj.GetName(), opts)
}

// patch writes the owners and finalizers of an object that another server keeps, unless it has changed meanwhile.
func (f *foreigners) patch(ctx context.Context, it item, change func(api.Object)) error {
	c, err := f.to(it.foreign, it.obj.GetNamespace())
	if err != nil {
		return err
	}
	next := &metav1.PartialObjectMetadata{}
	next.OwnerReferences, next.Finalizers = slices.Clone(it.obj.GetOwnerReferences()), slices.Clone(it.obj.GetFinalizers())
	change(next)
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": it.obj.GetUID(), "resourceVersion": it.obj.GetResourceVersion(),
		"ownerReferences": next.OwnerReferences, "finalizers": next.Finalizers}})
	if err != nil {
		return err
	}
	_, err = c.Patch(ctx, it.obj.GetName(), types.MergePatchType, body, metav1.PatchOptions{})
	return err
}
