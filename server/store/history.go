package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"

	"codeberg.org/skiff/skiff/server/api"
)

// history reads the events of a watch after from up to to back from etcd.
func (s *Store) history(ctx context.Context, w *Watch, from, to int64) ([]*Event, error) {
	m := s.member.Load()
	if m == nil {
		return nil, fmt.Errorf("read etcd's history: %w", ErrUnavailable)
	}
	root := s.Snapshot()
	only := map[*api.Kind]bool{}
	for _, k := range w.opts.Kinds {
		only[k] = true
	}
	past := past{store: s, member: m, seen: map[string]api.Object{}}
	var events []*Event
	err := m.revisions(ctx, from, to, func(ch *change) error {
		slot, _, ok := root.layout.locate(root.tables, ch.key)
		if !ok {
			return nil
		}
		k := root.tables[slot].kind
		if len(only) > 0 && !only[k] {
			return nil
		}
		e, err := past.event(ctx, k, ch, from)
		if e != nil && w.wants(e) {
			events = append(events, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch from revision %d: %w", from, err)
	}
	return events, nil
}

// past makes events of etcd's history. seen holds the last state of each key met so far; nil for a deleted one.
type past struct {
	store  *Store
	member *member
	seen   map[string]api.Object
}

func (p *past) event(ctx context.Context, k *api.Kind, ch *change, from int64) (*Event, error) {
	old, known := p.seen[ch.key]
	if !known {
		var err error
		if old, err = p.stateAt(ctx, k, ch.key, from); err != nil {
			return nil, err
		}
	}
	var obj api.Object
	if !ch.deleted {
		var err error
		if obj, err = p.decode(k, ch.key, ch.value, ch.rev); err != nil {
			return nil, err
		}
	}
	p.seen[ch.key] = obj
	switch {
	case obj == nil && old == nil:
		return nil, nil
	case obj == nil:
		return newEvent(Deleted, k, withRevision(old, revisionString(ch.rev)), old, ch.rev), nil
	case old == nil:
		return newEvent(Added, k, obj, nil, ch.rev), nil
	}
	return newEvent(Modified, k, obj, old, ch.rev), nil
}

func (p *past) stateAt(ctx context.Context, k *api.Kind, key string, rev int64) (api.Object, error) {
	r, err := p.member.server.KV().Range(ctx, []byte(key), nil, mvcc.RangeOptions{Rev: rev})
	if err != nil {
		return nil, historyError(err)
	}
	if len(r.KVs) == 0 {
		return nil, nil
	}
	return p.decode(k, key, r.KVs[0].Value, r.KVs[0].ModRevision)
}

// decode returns nil for what cannot be decoded. A value whose key is gone is as good as compacted: whoever asks begins
// anew from the present, instead of missing it.
func (p *past) decode(k *api.Kind, key string, value []byte, rev int64) (api.Object, error) {
	obj, err := p.store.cache.decode(k, key, value, rev)
	switch {
	case errors.Is(err, errSealed):
		return nil, fmt.Errorf("%w: %w", ErrCompacted, err)
	case err != nil:
		return nil, nil
	}
	return obj, nil
}

// revisions calls visit for every change after from up to to, in order. The backend's keys are revisions, so this is
// one pass over exactly what is asked for.
func (m *member) revisions(ctx context.Context, from, to int64, visit func(*change) error) error {
	for rev := from + 1; rev <= to; rev += rangePage {
		if err := ctx.Err(); err != nil {
			return err
		}
		changes, err := m.revisionPage(rev, min(rev+rangePage, to+1))
		if err != nil {
			return err
		}
		// The pages are whole only if none of their revisions was compacted away meanwhile.
		if from < m.compacted() {
			return ErrCompacted
		}
		for i := range changes {
			if err := visit(&changes[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// compacted is the oldest revision whose state etcd can still tell; it knows all changes after it.
func (m *member) compacted() int64 { return m.server.KV().FirstRev() }

func (m *member) revisionPage(first, end int64) ([]change, error) {
	start, stop := mvcc.NewRevBytes(), mvcc.NewRevBytes()
	start = mvcc.RevToBytes(mvcc.Revision{Main: first}, start)
	stop = mvcc.RevToBytes(mvcc.Revision{Main: end}, stop)
	tx := m.server.Backend().ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	revs, values := tx.UnsafeRange(schema.Key, start, stop, 0)
	changes := make([]change, 0, len(revs))
	for i, raw := range values {
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(raw, &kv); err != nil {
			return nil, fmt.Errorf("revision %d: %w", mvcc.BytesToRev(revs[i]).Main, err)
		}
		changes = append(changes, change{key: string(kv.Key), value: kv.Value,
			rev: mvcc.BytesToRev(revs[i]).Main, deleted: mvcc.IsTombstone(revs[i])})
	}
	return changes, nil
}

// Held snapshots: how many, and for how long.
const (
	maxHeld  = 100
	holdTime = 5 * time.Minute
)

// heldSnapshots are those that page tokens refer to.
type heldSnapshots struct {
	mu sync.Mutex
	at map[heldKey]held
}

// heldKey: kind is nil for a snapshot of all kinds.
type heldKey struct {
	kind *api.Kind
	rev  int64
}

type held struct {
	snapshot *Snapshot
	until    time.Time
}

func (h *heldSnapshots) keep(k *api.Kind, s *Snapshot, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[heldKey]held{}
	}
	if have, ok := h.at[heldKey{k, s.rev}]; ok && now.Before(have.until) {
		return // whoever asks again and again must learn some day that this is over
	}
	if len(h.at) >= maxHeld {
		h.purgeLocked(now)
	}
	if len(h.at) >= maxHeld {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(h.at)), func(a, b heldKey) int { return h.at[a].until.Compare(h.at[b].until) })
		delete(h.at, oldest)
	}
	h.at[heldKey{k, s.rev}] = held{s, now.Add(holdTime)}
}

func (h *heldSnapshots) find(k *api.Kind, rev int64) *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, key := range []heldKey{{nil, rev}, {k, rev}} {
		if s, ok := h.at[key]; ok && now.Before(s.until) {
			return s.snapshot
		}
	}
	return nil
}

// forget drops the states before rev: what etcd cannot tell any more is gone for everybody.
func (h *heldSnapshots) forget(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.at, func(key heldKey, _ held) bool { return key.rev < rev })
}

func (h *heldSnapshots) purge(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.purgeLocked(now)
}

func (h *heldSnapshots) purgeLocked(now time.Time) {
	maps.DeleteFunc(h.at, func(_ heldKey, s held) bool { return now.After(s.until) })
}

// Hold keeps a snapshot at hand for SnapshotAt, for five minutes or until it is compacted away: whoever gives out a page
// token calls it. Without it the next page still comes, at the cost of a read.
func (s *Store) Hold(snapshot *Snapshot) { s.held.keep(nil, snapshot, time.Now()) }

// SnapshotAt returns the state at exactly rev of the one kind asked for (perhaps of others too): the current snapshot or
// one that is held, else the current one with the newer events undone, else read back from etcd. ErrCompacted if it is
// gone, ErrFuture if it has not happened.
func (s *Store) SnapshotAt(ctx context.Context, k *api.Kind, rev int64) (*Snapshot, error) {
	if rev > s.Snapshot().rev {
		wait, cancel := context.WithTimeout(ctx, futureWait)
		defer cancel()
		if err := s.WaitFor(wait, rev); err != nil {
			return nil, fmt.Errorf("%s at revision %d: %w", k.Kind, rev, ErrFuture)
		}
	}
	if root := s.Snapshot(); root.rev == rev {
		return root, nil
	}
	if found := s.held.find(k, rev); found != nil {
		return found, nil
	}
	found, err := s.cache.undo(k, rev), error(nil)
	if found == nil {
		found, err = s.readBack(ctx, k, rev)
	}
	if err != nil {
		return nil, fmt.Errorf("%s at revision %d: %w", k.Kind, rev, err)
	}
	s.held.keep(k, found, time.Now())
	return found, nil
}

// undo makes the state of k at rev from the current one, if the ring reaches back that far; else nil.
func (c *cache) undo(k *api.Kind, rev int64) *Snapshot {
	c.mu.Lock()
	r, current := c.rings[k], c.snapshot().table(k)
	if r == nil || current == nil {
		c.mu.Unlock()
		return nil
	}
	events, ok := r.after(rev)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	t := current.fork()
	for _, e := range slices.Backward(events) {
		key := k.Key(e.Object.GetNamespace(), e.Object.GetName())
		if e.Old == nil {
			t.remove(key)
		} else {
			t.set(key, e.Old)
		}
	}
	return single(t, rev)
}

// readBack reads the state of k at rev from etcd.
func (s *Store) readBack(ctx context.Context, k *api.Kind, rev int64) (*Snapshot, error) {
	m := s.member.Load()
	if m == nil {
		return nil, ErrUnavailable
	}
	t, err := s.readTable(ctx, m, k, rev)
	if err != nil {
		return nil, err
	}
	return single(t, rev), nil
}

// single is a snapshot of one kind.
func single(t *table, rev int64) *Snapshot {
	return &Snapshot{rev: rev, layout: newLayout([]*api.Kind{t.kind}), tables: []*table{t}}
}
