package store

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"codeberg.org/skiff/skiff/server/api"
)

var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("not found")
	// ErrExists: the key to be created is there already.
	ErrExists = errors.New("already exists")
	// ErrConflict: the object's revision is not the one the caller expected.
	ErrConflict = errors.New("the object has been modified")
	// ErrCompacted: the revision asked for is gone from etcd's history (410 Gone).
	ErrCompacted = errors.New("required revision has been compacted")
	// ErrFuture: the revision asked for is larger than the current one.
	ErrFuture = errors.New("too large resource version")
	// ErrSlow ends a watch whose reader did not keep up.
	ErrSlow = errors.New("watcher too slow")
	// ErrUnavailable: etcd did not answer in time, or has no leader. Retry.
	ErrUnavailable = errors.New("storage is unavailable")
)

// Config says where the store lives. The zero value of every optional field is a sound default.
type Config struct {
	// Dir is etcd's data directory.
	Dir string
	// Name of this member; default "default".
	Name string
	// PeerURL and ClientURL that etcd listens on; empty ClientURL means none but in-process.
	PeerURL, ClientURL string
	// Catalogue of kinds to cache.
	Catalogue *api.Catalogue
	// CompactionInterval, default 5 min; history older than one interval is compacted away.
	CompactionInterval time.Duration
	// History is how many recent events a kind's ring holds; default 1,000.
	History int
	Log     *slog.Logger
}

// Store is safe for concurrent use.
type Store struct{}

// New checks the configuration. It opens nothing: Run does.
func New(Config) (*Store, error) { panic("not written yet") }

// Run opens etcd, fills the cache and serves until ctx ends. Damaged data is an error that names the file and what to do.
func (s *Store) Run(ctx context.Context) error { panic("not written yet") }

// Ready is closed when the cache is filled and reads and writes are served.
func (s *Store) Ready() <-chan struct{} { panic("not written yet") }

// Create stores obj (a hub object, whose resourceVersion must be empty) and returns it as stored, with its
// resourceVersion; the result is shared, so do not change it. ErrExists if the key is taken.
func (s *Store) Create(ctx context.Context, k *api.Kind, obj api.Object) (api.Object, error) {
	panic("not written yet")
}

// Update replaces the object whose revision is rev, else ErrConflict (or ErrNotFound).
// An update that changes nothing writes nothing and returns the stored object.
func (s *Store) Update(ctx context.Context, k *api.Kind, obj api.Object, rev int64) (api.Object, error) {
	panic("not written yet")
}

// Delete removes the object whose revision is rev (0: whatever it is) and returns its last state, with the
// revision of the deletion as its resourceVersion.
func (s *Store) Delete(ctx context.Context, k *api.Kind, namespace, name string, rev int64) (api.Object, error) {
	panic("not written yet")
}

// Snapshot returns the newest published state of all kinds. O(1).
func (s *Store) Snapshot() *Snapshot { panic("not written yet") }

// SnapshotAt returns the state at exactly rev: from recent snapshots if one is held, else read back from etcd for the
// one kind asked for. ErrCompacted if it is gone, ErrFuture if it has not happened.
func (s *Store) SnapshotAt(ctx context.Context, k *api.Kind, rev int64) (*Snapshot, error) {
	panic("not written yet")
}

// WaitFor blocks until the cache has reached rev, or ctx ends.
func (s *Store) WaitFor(ctx context.Context, rev int64) error { panic("not written yet") }

// AddKind starts caching a kind that was added to the catalogue at run time and returns when its objects are there;
// RemoveKind stops it and ends its watches.
func (s *Store) AddKind(ctx context.Context, k *api.Kind) error { panic("not written yet") }
func (s *Store) RemoveKind(k *api.Kind)                         { panic("not written yet") }

// Snapshot is the state of every kind at one revision. Immutable; safe for concurrent use; costs nothing to hold
// for a while.
type Snapshot struct{}

// Revision of the snapshot: etcd's.
func (s *Snapshot) Revision() int64 { panic("not written yet") }

// Get returns the object or nil.
func (s *Snapshot) Get(k *api.Kind, namespace, name string) api.Object { panic("not written yet") }

// Count of the objects in namespace ("" is all of them).
func (s *Snapshot) Count(k *api.Kind, namespace string) int { panic("not written yet") }

// List yields the objects of a namespace ("": all), in key order, starting after the key `after` ("": from the start;
// a key is Kind.Key(namespace, name)).
func (s *Snapshot) List(k *api.Kind, namespace, after string) iter.Seq[api.Object] {
	panic("not written yet")
}

// ByIndex yields the objects that the named index of the kind has under value, in key order.
func (s *Snapshot) ByIndex(k *api.Kind, index, value string) iter.Seq[api.Object] {
	panic("not written yet")
}

// EventType says what happened to a key.
type EventType string

const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	// Bookmark carries a revision and no object: everything up to it was seen.
	Bookmark EventType = "BOOKMARK"
)

// Event is one change of one object. It is shared between watchers.
type Event struct {
	Type EventType
	Kind *api.Kind
	// Object is the state after the change; for Deleted the last state, with the deletion's revision as its
	// resourceVersion. Nil for Bookmark.
	Object api.Object
	// Old is the state before; nil for Added.
	Old      api.Object
	Revision int64
}

// Encoded returns the bytes of this event for a media type, made by encode the first time anybody asks.
func (e *Event) Encoded(mediaType string, encode func() ([]byte, error)) ([]byte, error) {
	panic("not written yet")
}

// WatchOptions choose what a watch delivers.
type WatchOptions struct {
	// Kinds to watch; nil means every kind. Events of several kinds come in revision order.
	Kinds []*api.Kind
	// From: events after this revision. 0 means from now on.
	From int64
	// Namespace, "" for all.
	Namespace string
	// Index and Value restrict delivery to objects which have (or had, before the event) this index value, without
	// waking the watcher for others: how a kubelet's watch on spec.nodeName costs nothing for the other nodes.
	Index, Value string
	// Bookmarks asks for a Bookmark event at about this interval when nothing else was sent. 0: none.
	Bookmarks time.Duration
	// Buffer is how many undelivered events are held before the watcher is cut off with ErrSlow; default 1,024.
	Buffer int
}

// Watch delivers events until it is stopped or fails.
type Watch struct{}

// Watch starts delivering. The first event is the first change after opts.From.
func (s *Store) Watch(ctx context.Context, opts WatchOptions) (*Watch, error) {
	panic("not written yet")
}

// Events is closed when the watch has ended; Err then says why (nil after Stop or the end of its context).
// Events come in batches, so that a reader can flush once per batch.
func (w *Watch) Events() <-chan []*Event { panic("not written yet") }

// Err is valid once Events is closed.
func (w *Watch) Err() error { panic("not written yet") }

// Stop ends the watch. It can be called more than once.
func (w *Watch) Stop() { panic("not written yet") }
