package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// ErrKindRemoved ends a watch whose kind is not served any more, or has another definition now.
	ErrKindRemoved = errors.New("the kind was removed")
	// ErrTooLarge: the encoded object is larger than [MaxObjectSize].
	ErrTooLarge = errors.New("the object is too large to be stored")
	// ErrUnavailable: etcd does not serve now. Nothing was written; the same may be tried again.
	ErrUnavailable = errors.New("storage is unavailable")
	// ErrOutcomeUnknown: etcd was given a write and did not say what became of it. It may have taken effect, now or in a moment, so look before trying again.
	ErrOutcomeUnknown = errors.New("the outcome of the write is unknown: it may have taken effect, so look before trying again")
	// ErrFull: the disk has no room for it. Nothing was written, and trying again is of no use before there is room.
	ErrFull = errors.New("the disk is full")
)

// Config says where the store lives. The zero value of every optional field is a sound default.
type Config struct {
	// Dir is etcd's data directory.
	Dir string
	// Mark is a file that is there once the store has had data. It says that an empty Dir is a loss and no first start, so it had better lie outside
	// of Dir. Default: a file in Dir.
	Mark string
	// Recover lets the store go on from what is left when the log is damaged or missing; what the database does not have is lost then. It is an
	// error when nothing is wrong.
	Recover bool
	// Name of this member; default "default".
	Name string
	// PeerURL and ClientURL that etcd listens on; empty ClientURL means none but in-process.
	PeerURL, ClientURL string
	// Catalogue of kinds to cache.
	Catalogue *api.Catalogue
	// CompactionInterval, default 4 min; history older than one to two intervals is
	// compacted away. (Upstream's is 5 min; clients that wait twice that for a token to expire should not just miss it.)
	CompactionInterval time.Duration
	// Transformer encrypts values; nil stores them as they are.
	Transformer Transformer
	// MinFree is how many bytes of the disk must stay free for an ordinary write to be taken; default 40 MiB. MinFreeReserve is the same for writes that
	// tell what is (see [WithReserve]); default 16 MiB. Leases and deletions are always taken.
	MinFree, MinFreeReserve int64
	// History is how many recent events a kind's ring holds; default 1,000.
	History int
	Log     *slog.Logger
}

// MaxObjectSize is how many bytes an object may have in etcd: 1.5 MiB, etcd's own default limit of a request.
const MaxObjectSize = 1536 << 10

// writeTimeout bounds a write whose context has no deadline of its own.
const writeTimeout = 10 * time.Second

// Store is safe for concurrent use.
type Store struct {
	cfg   Config
	log   *slog.Logger
	cache *cache
	held  heldSnapshots
	lease leases
	// requests to etcd, counted.
	requests *requests
	// sealing is held for reading from the sealing of a value until it is written.
	sealing sync.RWMutex
	// member is the running etcd; nil before it serves and while it is being reopened.
	member atomic.Pointer[member]
	ready  chan struct{}
	// commands run on the applier's goroutine, between two batches.
	commands chan func()
	// commit has room for one: etcd's backend has much to commit, uncommitted bytes of it since it was last told.
	commit      chan struct{}
	uncommitted atomic.Int64
	// committing: a commit is asked for at a time that has come soon.
	committing atomic.Bool
	ran        atomic.Bool
}

// New checks the configuration. It opens nothing: Run does.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("store: Dir is not set")
	}
	if cfg.Catalogue == nil {
		return nil, errors.New("store: Catalogue is not set")
	}
	if cfg.Name == "" {
		cfg.Name = "default"
	}
	if cfg.CompactionInterval <= 0 {
		cfg.CompactionInterval = 4 * time.Minute
	}
	if cfg.History <= 0 {
		cfg.History = 1000
	}
	if cfg.MinFree <= 0 {
		cfg.MinFree = defaultMinFree
	}
	if cfg.MinFreeReserve <= 0 {
		cfg.MinFreeReserve = min(defaultMinFreeReserve, cfg.MinFree)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	log := cfg.Log.With("component", "store")
	if _, err := etcdConfig(cfg, nil); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{
		cfg:      cfg,
		log:      log,
		cache:    newCache(cfg.History, cfg.Transformer, log),
		requests: newRequests(),
		ready:    make(chan struct{}),
		commands: make(chan func()),
		commit:   make(chan struct{}, 1),
	}, nil
}

// Ready is closed when the cache is filled and reads and writes are served.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Snapshot returns the newest published state of all kinds. O(1). Before Ready it is empty, at revision 0.
func (s *Store) Snapshot() *Snapshot { return s.cache.snapshot() }

// WaitFor blocks until the cache has reached rev, or ctx ends.
func (s *Store) WaitFor(ctx context.Context, rev int64) error {
	return s.cache.waitFor(ctx, rev, func() {
		if m := s.member.Load(); m != nil {
			m.requestProgress()
		}
	})
}

// Serving is an error while etcd takes no writes; reads go on from the cache.
func (s *Store) Serving() error {
	if s.member.Load() == nil {
		return fmt.Errorf("etcd is not serving: %w", ErrUnavailable)
	}
	return nil
}
