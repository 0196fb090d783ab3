package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"codeberg.org/skiff/skiff/server/api"
)

// maxBatch bounds how many changes are published as one.
const maxBatch = 1000

// Run opens etcd, fills the cache and serves until ctx ends. Damaged data is an error that names the file and what to do.
// When etcd gives up while it serves (a full disk, one that fails), reads go on from the cache and Run opens it again, with back-off.
func (s *Store) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("store: Run was called before")
	}
	defer s.cache.endWatches()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		started := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !s.isReady() {
			return err
		}
		if errors.Is(err, errStuck) {
			n, failed := release(s.cfg.Dir)
			s.log.Error("etcd failed and cannot be closed; its files were taken from it", "files", n, "error", failed)
		}
		if time.Since(started) > time.Minute {
			wait = 100 * time.Millisecond
		}
		s.log.Error("etcd failed and is opened again; reads go on, writes are refused", "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// errStuck: a failed etcd still holds its files; see release.
var errStuck = errors.New("etcd failed and cannot be closed")

func (s *Store) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// serve runs one etcd from open to close.
func (s *Store) serve(ctx context.Context) (err error) {
	if s.isReady() {
		if err := probe(s.cfg.Dir); err != nil {
			return fmt.Errorf("the disk takes no writes: %w", err)
		}
	}
	m, err := open(ctx, s.cfg)
	if err != nil {
		return err
	}
	s.cfg.Recover = false // once
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer func() {
		s.member.Store(nil)
		if ctx.Err() != nil { // told to end, not failed
			s.noteWritten(m)
		}
		cancel()
		m.unfollow()
		helpers.Wait()
		if !m.close() {
			err = fmt.Errorf("%w: %v", errStuck, err)
		}
	}()
	helpers.Go(func() { s.compactForever(ctx, m) })
	helpers.Go(func() { s.commitForever(ctx, m) })
	if !s.isReady() {
		if err := s.load(ctx, m); err != nil {
			return err
		}
	}
	s.lease.forget()
	return s.applyForever(ctx, m)
}

// load fills the cache from etcd as it is now.
func (s *Store) load(ctx context.Context, m *member) error {
	rev := m.server.KV().Rev()
	kinds := s.cfg.Catalogue.Kinds()
	if s.isReady() {
		kinds = s.cache.snapshot().layout.kinds()
	}
	root := &Snapshot{rev: rev, layout: newLayout(kinds)}
	for _, k := range kinds {
		t, err := s.readTable(ctx, m, k, rev)
		if err != nil {
			return fmt.Errorf("fill the cache: %w", err)
		}
		root.tables = append(root.tables, t)
	}
	s.cache.reset(root)
	return nil
}

// readTable reads the objects of one kind as they were at rev.
func (s *Store) readTable(ctx context.Context, m *member, k *api.Kind, rev int64) (*table, error) {
	t := newTable(k)
	slots := newLayout([]*api.Kind{k})
	err := m.scan(ctx, k.Prefix, rev, func(kv *mvccpb.KeyValue) {
		etcdKey := string(kv.Key)
		_, key, ok := slots.locate([]*table{t}, etcdKey)
		if !ok {
			return // another kind's, whose prefix is longer
		}
		obj, damage := s.cache.hold(k, etcdKey, kv.Value, kv.ModRevision)
		if obj != nil {
			t.set(key, obj)
		}
		t.setDamaged(key, damage)
	})
	return t, err
}

// applyForever is the applier: it follows etcd and brings the cache along, until ctx ends or etcd fails.
func (s *Store) applyForever(ctx context.Context, m *member) error {
	responses, err := m.follow(ctx, s.cache.snapshot().rev)
	if err != nil {
		return err
	}
	s.member.Store(m)
	if !s.isReady() {
		close(s.ready)
	}
	for {
		select {
		case r := <-responses:
			lost := s.applyResponses(r, responses)
			if !lost {
				continue
			}
			m.unfollow()
			if err := s.load(ctx, m); err != nil {
				return err
			}
			if responses, err = m.follow(ctx, s.cache.snapshot().rev); err != nil {
				return err
			}
		case command := <-s.commands:
			command()
		case <-m.failed:
			return errors.New(m.reason)
		case <-m.server.StopNotify():
			return errors.New("etcd stopped by itself")
		case <-ctx.Done():
			return nil
		}
	}
}

// applyResponses applies r and whatever else has arrived already. lost means that etcd has compacted what comes next.
func (s *Store) applyResponses(r mvcc.WatchResponse, more <-chan mvcc.WatchResponse) (lost bool) {
	var changes []change
	rev := s.cache.snapshot().rev
	for {
		if r.CompactRevision != 0 {
			s.log.Warn("The cache fell behind etcd's history and is filled again", "compacted", r.CompactRevision)
			return true
		}
		for _, e := range r.Events {
			changes = append(changes, change{key: string(e.Kv.Key), value: e.Kv.Value, rev: e.Kv.ModRevision,
				deleted: e.Type == mvccpb.Event_DELETE})
			rev = max(rev, e.Kv.ModRevision)
			s.written(len(e.Kv.Value))
		}
		if len(r.Events) == 0 {
			rev = max(rev, r.Revision) // progress: nothing of ours up to here
		}
		if len(changes) >= maxBatch {
			break
		}
		select {
		case r = <-more:
			continue
		default:
		}
		break
	}
	s.cache.apply(changes, rev)
	return false
}

// command runs do on the applier's goroutine and waits for it.
func (s *Store) command(ctx context.Context, do func(m *member)) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan struct{})
	run := func() {
		defer close(done)
		do(s.member.Load())
	}
	select {
	case s.commands <- run:
		<-done
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// readNow reads a kind at the revision at which the cache is. etcd tells its watchers of a revision a moment before it lets
// anybody read at it.
func (s *Store) readNow(ctx context.Context, m *member, k *api.Kind, rev int64) (t *table, err error) {
	for range 1000 {
		if t, err = s.readTable(ctx, m, k, rev); !errors.Is(err, ErrFuture) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return t, err
}

// AddKind starts caching a kind that was added to the catalogue at run time and returns when its objects are there.
// A kind that is cached already is left as it is.
func (s *Store) AddKind(ctx context.Context, k *api.Kind) error {
	var failed error
	err := s.command(ctx, func(m *member) {
		root := s.cache.snapshot()
		if root.layout.has(k) {
			return
		}
		var t *table
		if t, failed = s.readNow(ctx, m, k, root.rev); failed == nil {
			s.cache.addKind(t)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("cache kind %s: %w", k.Kind, err)
	}
	return nil
}

// ReplaceKind caches k, which has the prefix of old, in its place: the objects are read again by the new definition, and the
// watches of old end. No snapshot is without either.
func (s *Store) ReplaceKind(ctx context.Context, old, k *api.Kind) error {
	var failed error
	err := s.command(ctx, func(m *member) {
		root := s.cache.snapshot()
		if root.layout.has(k) {
			return
		}
		var t *table
		if t, failed = s.readNow(ctx, m, k, root.rev); failed == nil {
			s.cache.replaceKind(old, t)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("cache kind %s: %w", k.Kind, err)
	}
	return nil
}

// RemoveKind stops caching a kind and ends its watches.
func (s *Store) RemoveKind(k *api.Kind) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_ = s.command(ctx, func(*member) { s.cache.removeKind(k) })
}

func revisionString(rev int64) string { return strconv.FormatInt(rev, 10) }
