package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	// Warn collects Warning headers; may be nil. It may be called from several goroutines, one at a time.
	Warn func(text string)
	// Annotate collects annotations for the audit event; may be nil. It is called like Warn. body says that value shows
	// what the object holds, so that it belongs only into events that log bodies.
	Annotate func(key, value string, body bool)
}

// Config of a Registry. Everything is required unless it says otherwise.
type Config struct {
	Catalogue *api.Catalogue
	Store     *store.Store
	// Admission, in order.
	Admission []Plugin
	// Actions serve create-only subresources (binding, eviction, token) and kinds that are not stored (reviews).
	Actions []Action
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log; default slog.Default().
	Log *slog.Logger
	// Metrics registers how long admission takes; nil counts nothing.
	Metrics prometheus.Registerer
}

// Registry is safe for concurrent use.
type Registry struct {
	catalogue *api.Catalogue
	store     *store.Store
	admission []Plugin
	actions   map[actionKey]Action
	now       func() time.Time
	log       *slog.Logger
	metrics   *metrics
}

// New wires a registry.
func New(c Config) (*Registry, error) {
	if c.Catalogue == nil || c.Store == nil {
		return nil, errors.New("registry: Catalogue and Store are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	r := &Registry{
		catalogue: c.Catalogue,
		store:     c.Store,
		admission: c.Admission,
		actions:   map[actionKey]Action{},
		now:       c.Now,
		log:       c.Log.With("component", "registry"),
	}
	var err error
	if r.metrics, err = newMetrics(c.Metrics); err != nil {
		return nil, fmt.Errorf("registry: register metrics: %w", err)
	}
	for _, a := range c.Actions {
		r.actions[actionKey{a.Group, a.Resource, a.Subresource}] = a
	}
	return r, nil
}

// Snapshot of all kinds, for in-process readers.
func (r *Registry) Snapshot() *store.Snapshot { return r.store.Snapshot() }

// Catalogue of the kinds this registry serves.
func (r *Registry) Catalogue() *api.Catalogue { return r.catalogue }

// Now is the registry's clock, to the second, as times are stored.
func (r *Registry) Now() metav1.Time { return metav1.NewTime(r.now().Truncate(time.Second)) }

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
	// Gather is for watches over a network: see store.WatchOptions.
	Gather bool
}

// List is a page of objects at one revision.
type List struct {
	Items    []api.Object
	Revision int64
	// Continue is the token of the next page, "" on the last; Remaining the count of items after this page, nil when unknown.
	Continue  string
	Remaining *int64
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
	// Apply is set for server-side apply: the Transform gets the stored object, whatever the subresource shows, and its
	// result is a whole object that already has its managedFields.
	Apply bool
	// Internal is for Actions: the Transform's result is stored as it is, without prepare, admission, validation and
	// managedFields, which the action answers for (a binding may set spec.nodeName, which nothing else may).
	Internal bool
}

// Attributes is what admission sees of a write.
type Attributes struct {
	Request
	// Verb: CREATE, UPDATE, DELETE or CONNECT.
	Verb string
	// Object is the new state (nil for DELETE); a mutating plugin may change it. Old is the stored state (nil for CREATE).
	Object, Old runtime.Object
	// Options: CreateOptions, UpdateOptions, PatchOptions or DeleteOptions; nil for CONNECT.
	Options runtime.Object

	after []func(stored bool)
	// round of mutating admission, from 0; again asks for a second one.
	round int
	again bool
	memos map[string]any
}

// AfterWrite calls f once when this write is over: stored is true when the object is in the store and visible in every
// later snapshot. It is how a plugin that hands out something scarce (an address, a quota) holds it meanwhile.
func (a *Attributes) AfterWrite(f func(stored bool)) { a.after = append(a.after, f) }

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
