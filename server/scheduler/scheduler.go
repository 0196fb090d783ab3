package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// maxWrites bounds the bindings, status writes and evictions under way. Many at once share etcd's fsyncs.
const maxWrites = 64

// watchBuffer is generous: a burst of pods must not make the scheduler begin again.
const watchBuffer = 1 << 17

// Config of a Scheduler.
type Config struct {
	// Client of the server; the scheduler acts as system:kube-scheduler.
	Client *client.Client
	Log    *slog.Logger
	// Now is the clock of back-offs and conditions; default time.Now.
	Now func() time.Time
}

// Scheduler places pods. See the package comment.
type Scheduler struct {
	client *client.Client
	api    writer
	log    *slog.Logger
	now    func() time.Time

	state
	start int // the node with which the next look begins

	slots  chan struct{} // one a write under way
	writes sync.WaitGroup
	mu     sync.Mutex
	// refusals of one pod are written one after the other, in order.
	refusing map[string][]decision
	// outcomes of bindings and evictions that failed, for Run's goroutine.
	outcomes []outcome
	told     chan struct{}

	metrics *metrics
	// lost is when the watch ended, the zero time while it is followed, nil before Run.
	lost atomic.Pointer[time.Time]
}

// outcome of a binding or an eviction that failed: whose.
type outcome struct {
	key string
	uid types.UID
}

// New makes a scheduler; Run runs it.
func New(cfg Config) (*Scheduler, error) {
	if cfg.Client == nil {
		return nil, errors.New("scheduler: Client is not set")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return newScheduler(cfg, newAPIWriter(cfg.Client, cfg.Now)), nil
}

func newScheduler(cfg Config, w writer) *Scheduler {
	return &Scheduler{client: cfg.Client, api: w, log: cfg.Log.With("component", "scheduler"), now: cfg.Now,
		slots: make(chan struct{}, maxWrites), told: make(chan struct{}, 1), refusing: map[string][]decision{}, metrics: newMetrics()}
}

// Run places pods until ctx ends, and returns when the last write has ended. The store must be ready.
func (s *Scheduler) Run(ctx context.Context) error {
	defer s.writes.Wait()
	for ctx.Err() == nil {
		err := s.follow(ctx)
		s.lost.Store(new(time.Now()))
		if err != nil && ctx.Err() == nil {
			s.log.Warn("The watch ended and the cluster is read again", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// follow reads the cluster from one snapshot and then keeps up with it, placing pods in between.
func (s *Scheduler) follow(ctx context.Context) error {
	s.lost.Store(new(time.Time{}))
	s.writes.Wait() // what was being bound is bound or not, and the snapshot tells
	snap := s.client.Snapshot()
	opts := store.WatchOptions{From: snap.Revision(), Buffer: watchBuffer}
	s.state = state{cluster: newCluster(), backlog: newBacklog()}
	for _, example := range watched {
		kind := s.client.KindOf(example)
		if kind == nil {
			continue
		}
		opts.Kinds = append(opts.Kinds, kind)
		for obj := range snap.List(kind, "", "") {
			s.observe(store.Added, obj, nil)
		}
	}
	watch, err := s.client.Watch(ctx, opts)
	if err != nil {
		return err
	}
	defer watch.Stop()
	return s.loop(ctx, watch)
}

func (s *Scheduler) loop(ctx context.Context, watch *store.Watch) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if open := s.placeReady(ctx, watch.Events()); !open {
			return watch.Err()
		}
		if at, ok := s.backlog.nextDue(); ok {
			timer.Reset(at.Sub(s.now()))
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case batch, open := <-watch.Events():
			if !open {
				return watch.Err()
			}
			s.take(batch)
		case <-s.told:
			s.settle()
		case answer := <-s.metrics.ask:
			answer <- s.backlog.count()
		case <-timer.C:
			s.backlog.expire(s.now())
		case <-ctx.Done():
			return nil
		}
	}
}

// placeReady decides on the ready pods one after the other, always with what is known by then.
func (s *Scheduler) placeReady(ctx context.Context, events <-chan []*store.Event) (open bool) {
	for ctx.Err() == nil {
		p := s.backlog.next(s.now())
		if p == nil {
			return true
		}
		began := time.Now()
		d := decide(s.cluster, p, s.start)
		s.metrics.algorithm.Observe(time.Since(began).Seconds())
		d.began, d.attempts = began, s.backlog.attempts(p.key)
		if n := len(s.cluster.nodes); n > 0 {
			s.start = (s.start + d.looked) % n
		}
		s.apply(ctx, d)
		select {
		case batch, open := <-events:
			if !open {
				return false
			}
			s.take(batch)
		case <-s.told:
			s.settle()
		default:
		}
	}
	return true
}

// take takes a batch of events over.
func (s *Scheduler) take(batch []*store.Event) {
	var changed change
	for _, e := range batch {
		changed |= s.observe(e.Type, e.Object, e.Old)
	}
	s.backlog.wake(changed, s.now())
}

// settle takes back what was assumed of writes that failed. A pod that was not bound is tried again after its back-off.
func (s *Scheduler) settle() {
	s.mu.Lock()
	outcomes := s.outcomes
	s.outcomes = nil
	s.mu.Unlock()
	for _, o := range outcomes {
		if s.cluster.evicting[o.key] == o.uid {
			delete(s.cluster.evicting, o.key)
			s.backlog.wake(podGone, s.now()) // whoever waits for it to go has to look again
			continue
		}
		was, ok := s.cluster.placed[o.key]
		if !ok || !was.assumed || was.pod.UID != o.uid {
			continue // the watch was quicker
		}
		s.cluster.displace(o.key)
		s.backlog.wait(o.key, 0)
		s.backlog.wake(podGone, s.now())
	}
	s.backlog.expire(s.now())
}

// failed hands an outcome to Run's goroutine.
func (s *Scheduler) failed(o outcome) {
	s.mu.Lock()
	s.outcomes = append(s.outcomes, o)
	s.mu.Unlock()
	select {
	case s.told <- struct{}{}:
	default:
	}
}
