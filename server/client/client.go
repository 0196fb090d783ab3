// Package client is the in-process face of the registry, for controllers and the scheduler: reads come from the
// store's own cache, as one consistent snapshot of every kind; writes go the same way as any other caller's, with the
// identity, rights, admission and validation of the client's user.
//
// Objects that it returns are shared with everyone: DeepCopy before changing one. It starts no goroutine.
package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// Authorizer decides whether a user may do something; the apiserver's chain implements it.
type Authorizer interface {
	Authorize(ctx context.Context, u user.Info, verb, group, resource, subresource, namespace, name string) (allowed bool, reason string)
}

// Client acts as one user. It is a value to copy; As makes one for another user.
type Client struct {
	registry   *registry.Registry
	store      *store.Store
	catalogue  *api.Catalogue
	authorizer Authorizer
	user       user.Info
	recorder   *Recorder
	// fieldManager overrides the one that follows from the user.
	fieldManager string
	audit        Audit
}

// Audit hears of every write that came to an end, with its verb (create, update, patch, delete) and how it went. It must
// return at once.
type Audit func(verb string, req registry.Request, err error)

// WithAudit returns the same client, of whose writes a hears.
func (c *Client) WithAudit(a Audit) *Client {
	other := *c
	other.audit = a
	return &other
}

func (c *Client) tell(verb string, req registry.Request, err error) {
	if c.audit != nil {
		c.audit(verb, req, err)
	}
}

// New makes the client of a user. A nil authorizer allows everything (tests).
func New(r *registry.Registry, s *store.Store, c *api.Catalogue, a Authorizer, u user.Info) *Client {
	return &Client{registry: r, store: s, catalogue: c, authorizer: a, user: u}
}

// As returns the same client with another identity.
func (c *Client) As(u user.Info) *Client {
	other := *c
	other.user = u
	return &other
}

const serviceAccountPrefix = "system:serviceaccount:" + metav1.NamespaceSystem + ":"

// ServiceAccount is the identity of a controller: a service account in kube-system.
func ServiceAccount(name string) user.Info {
	return &user.DefaultInfo{
		Name:   serviceAccountPrefix + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
	}
}

// Catalogue of kinds, which grows with custom ones.
func (c *Client) Catalogue() *api.Catalogue { return c.catalogue }

// Snapshot is what is true now, of all kinds at one revision.
func (c *Client) Snapshot() Snapshot { return Snapshot{c.store.Snapshot(), c.catalogue} }

// Since is store.Store's.
func (c *Client) Since(rev int64, kinds []*api.Kind) (*store.Snapshot, []*store.Event, bool) {
	return c.store.Since(rev, kinds)
}

// Watch delivers changes of the given kinds (none: all).
func (c *Client) Watch(ctx context.Context, opts store.WatchOptions) (*store.Watch, error) {
	return c.store.Watch(ctx, opts)
}

// Create stores a new object and returns it as stored. In a namespace that is being terminated the answer is known: it is given without
// a request, since a loop that follows the objects there would ask again whenever one of them goes.
func (c *Client) Create(ctx context.Context, obj api.Object) (api.Object, error) {
	req, err := c.request(ctx, "create", obj, "")
	if err != nil {
		return nil, err
	}
	if ns, ok := Get[*corev1.Namespace](c.Snapshot(), "", obj.GetNamespace()); ok && req.Kind.Namespaced && api.IsTerminating(ns) {
		return nil, api.NewNamespaceTerminating(req.Kind.GroupResource(), obj.GetName(), obj.GetNamespace())
	}
	out, err := c.registry.Create(ctx, req, obj)
	c.tell("create", req, err)
	return asObject(out, err)
}

// Update replaces an object, which carries the resourceVersion it was read at; a conflict is an error for the loop to retry.
func (c *Client) Update(ctx context.Context, obj api.Object) (api.Object, error) {
	return c.update(ctx, obj, "")
}

// UpdateStatus writes only what the kind's status subresource may touch.
func (c *Client) UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error) {
	return c.update(ctx, obj, "status")
}

// UpdateSubresource writes through any get/update subresource of the kind's own type (finalize, approval …).
func (c *Client) UpdateSubresource(ctx context.Context, obj api.Object, subresource string) (api.Object, error) {
	return c.update(ctx, obj, subresource)
}

// Mutate changes the current state of an object with change, again after each race that it loses. obj names the object; when it has a
// uid, a successor of the same name is a conflict. change may run several times.
func (c *Client) Mutate(ctx context.Context, obj api.Object, subresource string, change func(api.Object) error) (api.Object, error) {
	req, err := c.request(ctx, "patch", obj, subresource)
	if apierrors.IsForbidden(err) { // upstream's roles give some controllers update and others patch; this is both
		req, err = c.request(ctx, "update", obj, subresource)
	}
	if err != nil {
		return nil, err
	}
	out, _, err := c.registry.Update(ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(api.Object)
		return next, change(next)
	}, registry.UpdateOptions{Retry: true, Preconditions: sameUID(obj)})
	c.tell("patch", req, err)
	return asObject(out, err)
}

// Change is Mutate of an object whose type is known.
func Change[T api.Object](ctx context.Context, c *Client, obj T, subresource string, change func(T)) (T, error) {
	out, err := c.Mutate(ctx, obj, subresource, func(current api.Object) error {
		next, ok := current.(T)
		if !ok {
			return fmt.Errorf("%s %s/%s: it is a %T", c.KindOf(obj).GroupResource(), obj.GetNamespace(), obj.GetName(), current)
		}
		change(next)
		return nil
	})
	next, _ := out.(T)
	return next, err
}

func sameUID(obj api.Object) *metav1.Preconditions {
	uid := obj.GetUID()
	if uid == "" {
		return nil
	}
	return &metav1.Preconditions{UID: &uid}
}

// Delete deletes an object. Preconditions in opts keep it from deleting a successor of the same name.
func (c *Client) Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error {
	req, err := c.request(ctx, "delete", obj, "")
	if err != nil {
		return err
	}
	_, _, err = c.registry.Delete(ctx, req, &opts)
	c.tell("delete", req, err)
	return err
}

// DeleteNow deletes obj if it is still the one with this uid, in the background manner; one that is gone already is no error.
func (c *Client) DeleteNow(ctx context.Context, obj api.Object) error {
	uid, policy := obj.GetUID(), metav1.DeletePropagationBackground
	err := c.Delete(ctx, obj, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &policy})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Act posts body to a create-only subresource of obj, e.g. a Binding to pods/binding.
func (c *Client) Act(ctx context.Context, obj api.Object, subresource string, body runtime.Object) (runtime.Object, error) {
	req, err := c.request(ctx, "create", obj, subresource)
	if err != nil {
		return nil, err
	}
	out, err := c.registry.Create(ctx, req, body)
	c.tell("create", req, err)
	return out, err
}

func (c *Client) update(ctx context.Context, obj api.Object, subresource string) (api.Object, error) {
	req, err := c.request(ctx, "update", obj, subresource)
	if err != nil {
		return nil, err
	}
	rv := obj.GetResourceVersion()
	out, _, err := c.registry.Update(ctx, req, func(runtime.Object) (runtime.Object, error) { return obj, nil },
		registry.UpdateOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &rv}})
	c.tell("update", req, err)
	return asObject(out, err)
}

func (c *Client) request(ctx context.Context, verb string, obj api.Object, subresource string) (registry.Request, error) {
	kind := c.KindOf(obj)
	if kind == nil {
		return registry.Request{}, fmt.Errorf("%s %T: no such kind in the catalogue", verb, obj)
	}
	if c.authorizer != nil {
		ok, reason := c.authorizer.Authorize(ctx, c.user, verb, kind.Group, kind.Plural, subresource, obj.GetNamespace(), obj.GetName())
		if !ok {
			return registry.Request{}, apierrors.NewForbidden(kind.GroupResource(), obj.GetName(),
				fmt.Errorf("user %q cannot %s it: %s", c.user.GetName(), verb, reason))
		}
	}
	return registry.Request{User: c.user, Kind: kind, Subresource: subresource,
		Namespace: obj.GetNamespace(), Name: obj.GetName(), FieldManager: c.manager()}, nil
}

// KindOf finds the kind of a typed or unstructured object.
func (c *Client) KindOf(obj api.Object) *api.Kind { return kindOf(c.catalogue, obj) }

func kindOf(c *api.Catalogue, obj api.Object) *api.Kind {
	if _, custom := obj.(runtime.Unstructured); custom {
		kind, _ := c.ByKind(obj.GetObjectKind().GroupVersionKind())
		return kind
	}
	return c.ByObject(obj)
}

// manager is the name under which upstream's component with these jobs manages fields, since tools filter on it: all controllers are the controller manager.
func (c *Client) manager() string {
	switch name := c.user.GetName(); {
	case c.fieldManager != "":
		return c.fieldManager
	case strings.HasPrefix(name, serviceAccountPrefix):
		return "kube-controller-manager"
	case name == wellknown.UserScheduler, name == corev1.DefaultSchedulerName:
		return "kube-scheduler"
	case name == "system:apiserver":
		return "kube-apiserver"
	}
	return c.component()
}

// component is the last part of the user's name, e.g. deployment-controller.
func (c *Client) component() string {
	name := c.user.GetName()
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == ':' {
			return name[i+1:]
		}
	}
	return name
}

func asObject(out runtime.Object, err error) (api.Object, error) {
	if err != nil {
		return nil, err
	}
	obj, ok := out.(api.Object)
	if !ok {
		return nil, fmt.Errorf("the registry answered with %T, which has no metadata", out)
	}
	return obj, nil
}

// Revision is an object's resourceVersion as a number; 0 if it has none.
func Revision(obj api.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return n
}
