package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of an Engine.
type Config struct {
	// Client of the server; each controller gets it with its own service account.
	Client      *client.Client
	Controllers []Controller
	Log         *slog.Logger
	// Now is the clock of Health; default time.Now.
	Now func() time.Time
}

// Engine runs controllers: one watch feeds all of their queues, and a worker exists only while there is a key for it.
//
// Goroutines: Run's own, which dispatches events, and up to Workers of each controller.
type Engine struct {
	client *client.Client
	log    *slog.Logger
	now    func() time.Time
	loops  []*loop
	// byKind and all say which inputs a kind's events go to.
	byKind map[*api.Kind][]route
	all    []route

	durations durations
	// lost is when the watch ended, the zero time while it is followed, nil before Run.
	lost atomic.Pointer[time.Time]

	ctx     context.Context // Run's; set before any worker starts
	workers sync.WaitGroup
}

// loop is one controller at work.
type loop struct {
	Controller
	client *client.Client
	log    *slog.Logger
	queue  *queue

	mu        sync.Mutex
	lastError string
	failedAt  time.Time
}

// route leads from an event to a controller's queue.
type route struct {
	loop *loop
	keys func(client.Snapshot, *store.Event) []string
}

// Health of one controller.
type Health struct {
	Name string
	// Waiting keys, those being worked on, and those that failed and are in back-off.
	Waiting, Running, Failing int
	// LastError that a Reconcile returned, and when. It stays when the key has succeeded since.
	LastError string
	FailedAt  time.Time
}

// watchBuffer is generous: a burst of changes must not make the engine begin again.
const watchBuffer = 1 << 17

// New checks that every controller is complete and every input is a kind of the catalogue.
func New(cfg Config) (*Engine, error) {
	if cfg.Client == nil {
		return nil, errors.New("controller engine: Client is not set")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Engine{client: cfg.Client, log: cfg.Log.With("component", "controllers"), now: cfg.Now, byKind: map[*api.Kind][]route{}, durations: newDurations()}
	names := map[string]bool{}
	for _, c := range cfg.Controllers {
		if c.Name == "" || c.Reconcile == nil || names[c.Name] {
			return nil, fmt.Errorf("controller %q: it needs a name of its own and a Reconcile", c.Name)
		}
		names[c.Name] = true
		if err := e.add(c, cfg.Log); err != nil {
			return nil, fmt.Errorf("controller %s: %w", c.Name, err)
		}
	}
	return e, nil
}

func (e *Engine) add(c Controller, log *slog.Logger) error {
	account := c.ServiceAccount
	if account == "" {
		account = c.Name
	}
	l := &loop{Controller: c, client: e.client.As(client.ServiceAccount(account)), log: log.With("component", c.Name)}
	l.queue = newQueue(c.Workers, func() { e.workers.Go(func() { e.work(l) }) })
	l.queue.waited, l.queue.worked = e.durations.waited.WithLabelValues(queueName(c.Name)), e.durations.worked.WithLabelValues(queueName(c.Name))
	e.loops = append(e.loops, l)
	for _, in := range c.Inputs {
		r := route{l, in.Keys}
		if in.Kind == nil {
			e.all = append(e.all, r)
			continue
		}
		kind := e.client.KindOf(in.Kind)
		if kind == nil {
			return fmt.Errorf("input %T is no kind of the catalogue", in.Kind)
		}
		e.byKind[kind] = append(e.byKind[kind], r)
	}
	return nil
}

// Run runs all controllers until ctx ends, and returns when the last Reconcile has returned. The store must be ready.
func (e *Engine) Run(ctx context.Context) error {
	e.ctx = ctx
	var resyncs sync.WaitGroup
	for _, l := range e.loops {
		if l.Resync > 0 {
			resyncs.Go(func() { e.resync(ctx, l) })
		}
	}
	for ctx.Err() == nil {
		err := e.follow(ctx)
		e.lost.Store(new(time.Now()))
		if err != nil && ctx.Err() == nil {
			e.log.Warn("The watch ended and all keys are taken up again", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	for _, l := range e.loops {
		l.queue.close()
	}
	resyncs.Wait()
	e.workers.Wait()
	return nil
}

// follow feeds the queues: first by all that exists in one snapshot, then by every change after it.
func (e *Engine) follow(ctx context.Context) error {
	e.lost.Store(new(time.Time{}))
	snap := e.client.Snapshot()
	opts := store.WatchOptions{From: snap.Revision(), Buffer: watchBuffer}
	if len(e.all) == 0 {
		for kind := range e.byKind {
			opts.Kinds = append(opts.Kinds, kind)
		}
		if len(opts.Kinds) == 0 {
			<-ctx.Done()
			return nil
		}
	}
	watch, err := e.client.Watch(ctx, opts)
	if err != nil {
		return err
	}
	defer watch.Stop()
	for _, kind := range e.client.Catalogue().Kinds() {
		e.existing(snap, kind, func(r route) bool { return true })
	}
	for batch := range watch.Events() {
		snap = e.client.Snapshot()
		for _, event := range batch {
			e.dispatch(snap, event, func(route) bool { return true })
		}
	}
	return watch.Err()
}

// existing dispatches an Added event for every object of a kind, to the routes that are wanted.
func (e *Engine) existing(snap client.Snapshot, kind *api.Kind, wanted func(route) bool) {
	if len(e.byKind[kind]) == 0 && len(e.all) == 0 {
		return
	}
	for obj := range snap.List(kind, "", "") {
		e.dispatch(snap, &store.Event{Type: store.Added, Kind: kind, Object: obj, Revision: snap.Revision()}, wanted)
	}
}

func (e *Engine) dispatch(snap client.Snapshot, event *store.Event, wanted func(route) bool) {
	if event.Type == store.Bookmark {
		return
	}
	for _, routes := range [][]route{e.byKind[event.Kind], e.all} {
		for _, r := range routes {
			if wanted(r) {
				r.loop.queue.add(r.loop.keysOf(r, snap, event)...)
			}
		}
	}
}

func (l *loop) keysOf(r route, snap client.Snapshot, event *store.Event) (keys []string) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("Keys panicked; the event is passed over", "panic", p, "kind", event.Kind.Kind,
				"object", event.Kind.Key(event.Object.GetNamespace(), event.Object.GetName()), "stack", string(debug.Stack()))
		}
	}()
	return r.keys(snap, event)
}

// resync adds the keys of all that exists, again and again.
func (e *Engine) resync(ctx context.Context, l *loop) {
	tick := time.NewTicker(l.Resync)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		snap := e.client.Snapshot()
		for _, kind := range e.client.Catalogue().Kinds() {
			e.existing(snap, kind, func(r route) bool { return r.loop == l })
		}
	}
}

// work reconciles keys of one controller until none is ready.
func (e *Engine) work(l *loop) {
	for {
		key, ok := l.queue.next()
		if !ok {
			return
		}
		result, err := l.reconcile(e.ctx, key)
		if e.ctx.Err() != nil || onlyTerminating(err) {
			err = nil // the end is no failure, neither ours nor a namespace's
		}
		attempt, again := l.queue.done(key, result.After, err != nil)
		if err != nil {
			l.failed(key, err, attempt, again, e.now())
		}
	}
}

func (l *loop) reconcile(ctx context.Context, key string) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("Reconcile panicked", "key", key, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return l.Reconcile(ctx, l.client, key)
}

// failed notes an error. A conflict is part of normal life: somebody else was quicker, and the key runs again.
func (l *loop) failed(key string, err error, attempt int, again time.Duration, now time.Time) {
	l.mu.Lock()
	l.lastError, l.failedAt = key+": "+err.Error(), now
	l.mu.Unlock()
	level := slog.LevelWarn
	if apierrors.IsConflict(err) || errors.Is(err, store.ErrConflict) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "Reconcile failed and is tried again", "key", key, "attempt", attempt, "after", again, "error", err)
}

// Health of every controller, in their order.
func (e *Engine) Health() []Health {
	all := make([]Health, len(e.loops))
	for i, l := range e.loops {
		h := &all[i]
		h.Name = l.Name
		h.Waiting, h.Running, h.Failing = l.queue.lengths()
		l.mu.Lock()
		h.LastError, h.FailedAt = l.lastError, l.failedAt
		l.mu.Unlock()
	}
	return all
}
