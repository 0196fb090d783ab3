package registry

import (
	"context"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Request says who does what to which resource. It is a value; every verb takes one.
type Request struct {
	// User who asks. Authorization has happened before (apiserver, client); admission plugins look at it again.
	User user.Info
	Kind *api.Kind
	// Version through which the caller speaks (for managedFields); nil means the hub.
	Version *api.Version
	// Subresource, "" for the object itself.
	Subresource     string
	Namespace, Name string

	DryRun bool
	// FieldManager for managedFields; "" for none given (the registry then uses the user agent's default, below).
	FieldManager string
	// UserAgent is the default of FieldManager, up to its first slash.
	UserAgent string
	// Warn collects Warning headers; may be nil.
	Warn func(text string)
}

// Config of a Registry. Everything is required unless it says otherwise.
type Config struct {
	Catalogue *api.Catalogue
	Store     *store.Store
	// Admission, in order.
	Admission []Plugin
	// Actions serve create-only subresources (binding, eviction, token) and kinds that are not stored (reviews).
	Actions []Action
	Now     func() time.Time
	Log     *slog.Logger
}

// Registry is safe for concurrent use.
type Registry struct{}

// New wires a registry.
func New(Config) (*Registry, error) { panic("not written yet") }

// ListOptions of List, Watch and DeleteCollection.
type ListOptions struct {
	Labels labels.Selector // nil: everything
	Fields fields.Selector // nil: everything
	// ResourceVersion and Match as the client sent them.
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	Limit                int64
	Continue             string
	// For Watch only:
	SendInitialEvents   *bool
	AllowWatchBookmarks bool
	Timeout             time.Duration
}

// List is a page of objects at one revision.
type List struct {
	Items    []api.Object
	Revision int64
	// Continue is the token of the next page, "" on the last; Remaining the count of items after this page, nil when unknown.
	Continue  string
	Remaining *int64
}

// Get returns the stored object, or what a subresource shows of it.
func (r *Registry) Get(ctx context.Context, req Request, opts metav1.GetOptions) (runtime.Object, error) {
	panic("not written yet")
}

// List returns one page.
func (r *Registry) List(ctx context.Context, req Request, opts ListOptions) (*List, error) {
	panic("not written yet")
}

// Watch delivers the changes that the selectors let through; leaving a selector is Deleted, entering it Added. With
// SendInitialEvents the current objects come first, then a Bookmark annotated k8s.io/initial-events-end.
func (r *Registry) Watch(ctx context.Context, req Request, opts ListOptions) (*Watch, error) {
	panic("not written yet")
}

// Watch is a filtered store.Watch: events in order, closed at the end; see Err.
type Watch struct {
	// Events come in batches. Shared: do not change the objects. When an event's Type differs from the store's (because
	// of a selector) the event is a copy that shares Encoded only with watchers that see the same type.
	Events <-chan []*store.Event
	// Initial, when not nil, is the snapshot's objects to be sent first (SendInitialEvents), then a bookmark at InitialRevision.
	Initial         []api.Object
	InitialRevision int64
	Err             func() error
	Stop            func()
}

// Create stores a new object, or runs the Action of a create-only subresource or unstored kind.
func (r *Registry) Create(ctx context.Context, req Request, obj runtime.Object) (runtime.Object, error) {
	panic("not written yet")
}

// Transform makes the object to store from the current one. current is nil when the object does not exist (only when
// the verb may create). It must return a new value and may be called again after a conflict.
type Transform func(current runtime.Object) (runtime.Object, error)

// UpdateOptions of Update.
type UpdateOptions struct {
	// Preconditions on uid and resourceVersion; nil fields are not checked.
	Preconditions *metav1.Preconditions
	// CreateIfMissing: server-side apply, and PUT of kinds with AllowCreateOnUpdate.
	CreateIfMissing bool
	// Retry on conflict by calling the Transform again (patches); false for PUT.
	Retry bool
	// Apply is set for server-side apply: the Transform's result already has its managedFields.
	Apply bool
}

// Update serves PUT, every kind of PATCH and server-side apply; created tells 201 from 200.
func (r *Registry) Update(ctx context.Context, req Request, t Transform, opts UpdateOptions) (obj runtime.Object, created bool, err error) {
	panic("not written yet")
}

// Delete begins or finishes the deletion of an object, by grace period, finalizers and propagation policy. done is false
// when the object is still there (then obj is its new state).
func (r *Registry) Delete(ctx context.Context, req Request, opts *metav1.DeleteOptions) (obj runtime.Object, done bool, err error) {
	panic("not written yet")
}

// DeleteCollection deletes what the options select and returns the objects as they were.
func (r *Registry) DeleteCollection(ctx context.Context, req Request, list ListOptions, opts *metav1.DeleteOptions) (*List, error) {
	panic("not written yet")
}

// Snapshot of all kinds, for in-process readers.
func (r *Registry) Snapshot() *store.Snapshot { panic("not written yet") }

// Attributes is what admission sees of a write.
type Attributes struct {
	Request
	// Verb: CREATE, UPDATE, DELETE or CONNECT.
	Verb string
	// Object is the new state (nil for DELETE); a mutating plugin may change it. Old is the stored state (nil for CREATE).
	Object, Old runtime.Object
	Options     runtime.Object
}

// Plugin is one admission step. Either func may be nil.
type Plugin struct {
	Name     string
	Admit    func(ctx context.Context, a *Attributes) error // may change a.Object
	Validate func(ctx context.Context, a *Attributes) error
}

// Action serves POST on a create-only subresource (pods/binding, pods/eviction, serviceaccounts/token), or on a kind that
// is not stored (tokenreviews, subjectaccessreviews …).
type Action struct {
	Group, Resource, Subresource string
	Run                          func(ctx context.Context, r *Registry, req Request, body runtime.Object) (runtime.Object, error)
}
