package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"codeberg.org/skiff/skiff/server/api"
)

// cache is the decoded state of etcd and those who wait for it to change. One goroutine, the applier, changes it;
// anybody reads the published root.
type cache struct {
	log         *slog.Logger
	history     int
	transformer Transformer // nil: values are stored as they are
	shared      shared
	root        atomic.Pointer[Snapshot]
	// dispatched is the revision up to which every watcher has been handed its events.
	dispatched atomic.Int64

	// mu is held while a root is published and its events are handed out, and while a watcher or waiter registers, so
	// that each of them starts at exactly one revision.
	mu       sync.Mutex
	rings    map[*api.Kind]*ring
	watchers watchers
	waiters  []waiter
}

type waiter struct {
	rev     int64
	reached chan struct{}
}

// change is one key as etcd tells it.
type change struct {
	key     string
	value   []byte
	rev     int64
	deleted bool
}

func newCache(history int, t Transformer, log *slog.Logger) *cache {
	c := &cache{log: log, history: history, transformer: t, rings: map[*api.Kind]*ring{}, watchers: newWatchers()}
	c.root.Store(&Snapshot{layout: newLayout(nil)})
	return c
}

func (c *cache) snapshot() *Snapshot { return c.root.Load() }

// apply brings the cache to rev by the changes of one batch, in order. Only the applier calls it.
func (c *cache) apply(changes []change, rev int64) {
	base := c.snapshot()
	forks := map[int]*table{}
	events := make([]*Event, 0, len(changes))
	for i := range changes {
		ch := &changes[i]
		slot, key, ok := base.layout.locate(base.tables, ch.key)
		if !ok {
			continue
		}
		t := forks[slot]
		if t == nil {
			t = base.tables[slot].fork()
			forks[slot] = t
		}
		if e := c.applyOne(t, key, ch); e != nil {
			e.size = len(ch.value)
			events = append(events, e)
		}
	}
	c.publish(base.with(rev, forks), events)
}

// applyOne changes t and returns the event that this makes; nil when nothing that can be seen has changed.
func (c *cache) applyOne(t *table, key string, ch *change) *Event {
	var obj api.Object
	var damage error
	if !ch.deleted {
		obj, damage = c.hold(t.kind, ch.key, ch.value, ch.rev)
	}
	t.setDamaged(key, damage)
	if obj == nil {
		old := t.remove(key)
		if old == nil {
			return nil
		}
		return newEvent(Deleted, t.kind, withRevision(old, revisionString(ch.rev)), old, ch.rev)
	}
	if t.kind.Share != nil {
		if old, ok := t.objects.Get(key); ok {
			t.kind.Share(obj, old)
		}
	}
	if old := t.set(key, obj); old != nil {
		return newEvent(Modified, t.kind, obj, old, ch.rev)
	}
	return newEvent(Added, t.kind, obj, nil, ch.rev)
}

// hold decodes what the cache is going to hold; nil for what cannot be read, with the reason: such an object is not in
// lists, says why when it is asked for by name, and can be deleted. Only the applier calls it.
func (c *cache) hold(k *api.Kind, etcdKey string, value []byte, rev int64) (api.Object, error) {
	obj, err := c.decode(k, etcdKey, value, rev)
	if err != nil {
		logUnreadable(c.log, etcdKey, rev, err)
		return nil, err
	}
	c.shared.object(obj)
	return obj, nil
}

func (c *cache) decode(k *api.Kind, etcdKey string, value []byte, rev int64) (api.Object, error) {
	plain, err := c.unseal(k, etcdKey, value)
	if err != nil {
		return nil, err
	}
	obj, err := decode(k, plain, rev)
	if err != nil {
		return nil, fmt.Errorf("unable to decode key %q: %w", etcdKey, err)
	}
	return obj, nil
}

// publish makes next the newest snapshot, hands out its events and wakes those who waited for its revision.
func (c *cache) publish(next *Snapshot, events []*Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.root.Store(next)
	for _, e := range events {
		c.rings[e.Kind].add(e)
		c.watchers.dispatch(e)
	}
	c.dispatched.Store(next.rev)
	c.waiters = slices.DeleteFunc(c.waiters, func(w waiter) bool {
		if w.rev > next.rev {
			return false
		}
		close(w.reached)
		return true
	})
}

// reset replaces everything: at start, and when etcd's history does not reach back to what the cache had. Watchers
// cannot be told what they missed, so they end with ErrCompacted.
func (c *cache) reset(next *Snapshot) {
	c.mu.Lock()
	c.watchers.endAll(ErrCompacted)
	clear(c.rings)
	for _, t := range next.tables {
		c.rings[t.kind] = newRing(c.history, next.rev)
	}
	c.mu.Unlock()
	c.publish(next, nil)
}

// addKind and removeKind change the layout at the revision at which the cache is. Only the applier calls them.
func (c *cache) addKind(t *table) {
	root := c.snapshot()
	next := &Snapshot{rev: root.rev, layout: newLayout(append(root.layout.kinds(), t.kind)), tables: append(slices.Clone(root.tables), t)}
	c.mu.Lock()
	c.rings[t.kind] = newRing(c.history, root.rev)
	c.mu.Unlock()
	c.publish(next, nil)
	c.introduce(t, root.rev)
}

// introduce tells those who watch all kinds what there is of a new one.
func (c *cache) introduce(t *table, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers.all) == 0 {
		return
	}
	t.ascend("", "", func(_ string, obj api.Object) bool {
		e := newEvent(Added, t.kind, obj, nil, rev)
		for _, w := range c.watchers.all {
			w.push(e)
		}
		return true
	})
}

// replaceKind puts t into the slot of old, if that is cached.
func (c *cache) replaceKind(old *api.Kind, t *table) {
	root := c.snapshot()
	slot, ok := root.layout.slot[old]
	if !ok {
		c.addKind(t)
		return
	}
	kinds, tables := root.layout.kinds(), slices.Clone(root.tables)
	kinds[slot], tables[slot] = t.kind, t
	c.mu.Lock()
	c.rings[t.kind] = newRing(c.history, root.rev)
	c.mu.Unlock()
	c.publish(&Snapshot{rev: root.rev, layout: newLayout(kinds), tables: tables}, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rings, old)
	c.watchers.endKind(old)
}

func (c *cache) removeKind(k *api.Kind) {
	root := c.snapshot()
	slot, ok := root.layout.slot[k]
	if !ok {
		return
	}
	next := &Snapshot{rev: root.rev, layout: newLayout(slices.Delete(root.layout.kinds(), slot, slot+1)),
		tables: slices.Delete(slices.Clone(root.tables), slot, slot+1)}
	c.publish(next, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rings, k)
	c.watchers.endKind(k)
}

// trim forgets events up to rev, which etcd has compacted too.
func (c *cache) trim(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.rings {
		r.trim(rev)
	}
}

// waitFor blocks until the published revision is at least rev. nudge asks etcd to say where it is, for a revision that
// changed no key of ours never shows as an event.
func (c *cache) waitFor(ctx context.Context, rev int64, nudge func()) error {
	if c.snapshot().rev >= rev {
		return nil
	}
	c.mu.Lock()
	if c.snapshot().rev >= rev {
		c.mu.Unlock()
		return nil
	}
	w := waiter{rev, make(chan struct{})}
	c.waiters = append(c.waiters, w)
	c.mu.Unlock()

	late := time.NewTicker(100 * time.Millisecond)
	defer late.Stop()
	for {
		select {
		case <-w.reached:
			return nil
		case <-late.C:
			nudge()
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			c.waiters = slices.DeleteFunc(c.waiters, func(other waiter) bool { return other.reached == w.reached })
			return ctx.Err()
		}
	}
}

func (c *cache) endWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers.endAll(nil)
}
