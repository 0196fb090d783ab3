package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"codeberg.org/skiff/skiff/server/api"
)

// futureWait is how long a watch from a revision that has not happened yet waits for it.
const futureWait = 3 * time.Second

// defaultBuffer of WatchOptions.
const defaultBuffer = 1024

// bytesPerEvent bounds what a watch holds of large objects: its Buffer may be full of events of this size.
const bytesPerEvent = 32 << 10

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
	// They need Kinds.
	Index, Value string
	// Bookmarks asks for a Bookmark event at about this interval when nothing else was sent and the revision has moved
	// on. 0: none.
	Bookmarks time.Duration
	// First are delivered before anything else, as they are.
	First []*Event
	// See, when set, makes of each batch what is delivered: fewer events, or others. It runs on the watch's goroutine and
	// must not change what it is given; what it leaves out costs the reader nothing.
	See func(batch []*Event) []*Event
	// Gather lets events wait a little for each other when many watch the same kind, so that a burst costs each of them a
	// few deliveries and not one an event. The first event after a pause is delivered at once. See gatherTime.
	Gather bool
	// Buffer is how many undelivered events, of 32 KiB on average, are held before the watcher is cut off with ErrSlow;
	// default 1,024.
	Buffer int
}

// Watch delivers events until it is stopped or fails.
type Watch struct {
	opts  WatchOptions
	cache *cache
	out   chan []*Event
	wake  chan struct{} // has room for one: there is something pending
	hurry chan struct{} // has room for one: there is much pending; nil for a watch that does not gather
	done  chan struct{}
	// peers is how many watch the kind without an index; nil if that does not matter.
	peers *atomic.Int64

	mu      sync.Mutex
	pending []*Event
	bytes   int // of pending, as etcd has the states
	ended   bool
	err     error
}

// Watch starts delivering. The first event is the first change after opts.From.
func (s *Store) Watch(ctx context.Context, opts WatchOptions) (*Watch, error) {
	if opts.Index != "" && len(opts.Kinds) == 0 {
		return nil, errors.New("watch: an index needs kinds")
	}
	if opts.Buffer <= 0 {
		opts.Buffer = defaultBuffer
	}
	if err := s.waitForStart(ctx, opts.From); err != nil {
		return nil, err
	}
	w := &Watch{opts: opts, cache: s.cache, out: make(chan []*Event),
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	missing, from, to, err := s.cache.register(w)
	if err != nil {
		return nil, err
	}
	if missing {
		events, err := s.history(ctx, w, from, to)
		if err != nil {
			s.cache.unregister(w)
			return nil, err
		}
		w.prepend(events)
	}
	go w.pump(ctx, from)
	return w, nil
}

func (s *Store) waitForStart(ctx context.Context, from int64) error {
	if from <= s.cache.snapshot().rev {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, futureWait)
	defer cancel()
	if err := s.WaitFor(wait, from); err != nil {
		return fmt.Errorf("watch from revision %d, current is %d: %w", from, s.cache.snapshot().rev, ErrFuture)
	}
	return nil
}

// register makes w see everything from now on, and gives it what the rings hold of the time before. When they do not
// reach back far enough, missing is true and the events after from up to to have to come from etcd.
func (c *cache) register(w *Watch) (missing bool, from, to int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to = c.snapshot().rev
	from = w.opts.From
	if from == 0 {
		from = to
	}
	for _, k := range w.opts.Kinds {
		if c.rings[k] == nil {
			return false, 0, 0, fmt.Errorf("watch %s: the kind is not cached: %w", k.Kind, ErrKindRemoved)
		}
	}
	var past []*Event
	if from < to {
		for _, k := range w.kinds() {
			r := c.rings[k]
			events, ok := r.after(from)
			if !ok {
				past, missing = nil, true
				break
			}
			past = append(past, events...)
		}
	}
	slices.SortStableFunc(past, func(a, b *Event) int { return int(a.Revision - b.Revision) })
	for _, e := range past {
		if w.wants(e) {
			w.pending = append(w.pending, e)
		}
	}
	c.watchers.add(w)
	return missing, from, to, nil
}

func (c *cache) unregister(w *Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers.remove(w)
}

func (w *Watch) kinds() []*api.Kind {
	if len(w.opts.Kinds) > 0 {
		return w.opts.Kinds
	}
	return w.cache.snapshot().layout.kinds()
}

// Events is closed when the watch has ended; Err then says why (nil after Stop or the end of its context).
// Events come in batches, so that a reader can flush once per batch.
func (w *Watch) Events() <-chan []*Event { return w.out }

// Err is valid once Events is closed.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the watch. It can be called more than once.
func (w *Watch) Stop() { w.end(nil) }

func (w *Watch) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked(err)
}

func (w *Watch) endLocked(err error) {
	if w.ended {
		return
	}
	w.ended, w.err, w.pending = true, err, nil
	close(w.done)
}

// wants says whether an event is for this watch, when the dispatcher has not found that out by its tables.
func (w *Watch) wants(e *Event) bool {
	if w.opts.Namespace != "" && e.Kind.Namespaced && e.Object.GetNamespace() != w.opts.Namespace {
		return false
	}
	return w.opts.Index == "" || hasValue(e, w.opts.Index, w.opts.Value)
}

func hasValue(e *Event, index, value string) bool {
	for _, ix := range indexesOf(e.Kind) {
		if ix.Name == index {
			return contains(ix.Values(e.Object), value) || e.Old != nil && contains(ix.Values(e.Old), value)
		}
	}
	return false
}

// push queues an event; it never blocks. A watch that has too many queued ends.
func (w *Watch) push(e *Event) {
	if w.opts.Namespace != "" && e.Kind.Namespaced && e.Object.GetNamespace() != w.opts.Namespace {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.bytes += e.size
	if len(w.pending) >= w.opts.Buffer || len(w.pending) > 0 && w.bytes > w.opts.Buffer*bytesPerEvent {
		w.endLocked(fmt.Errorf("%d events with %d bytes behind: %w", len(w.pending), w.bytes, ErrSlow))
		return
	}
	w.pending = append(w.pending, e)
	if len(w.pending) == w.opts.Buffer/4 && w.hurry != nil {
		select {
		case w.hurry <- struct{}{}:
		default:
		}
	}
	if len(w.pending) == 1 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// prepend puts what came from history before what came since.
func (w *Watch) prepend(events []*Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.pending = append(events, w.pending...)
	}
}

func (w *Watch) take() []*Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch := w.pending
	w.pending, w.bytes = nil, 0
	return batch
}

// seen is what is pending, as the watch is to see it.
func (w *Watch) seen() []*Event {
	batch := w.take()
	if w.opts.See != nil && len(batch) > 0 {
		return w.opts.See(batch)
	}
	return batch
}

// pump moves what is pending to the reader. told is the revision the reader knows of.
func (w *Watch) pump(ctx context.Context, told int64) {
	defer close(w.out)
	defer w.cache.unregister(w)
	var idle *time.Timer
	var quiet <-chan time.Time
	var sent time.Time // the last delivery, if events are to be gathered
	if w.opts.Bookmarks > 0 {
		idle = time.NewTimer(w.opts.Bookmarks)
		defer idle.Stop()
		quiet = idle.C
	}
	batch := w.opts.First
	if w.opts.First = nil; len(batch) == 0 {
		batch = w.seen()
	}
	for ; ; batch = w.seen() {
		if len(batch) == 0 {
			select {
			case <-w.wake:
				if !w.gather(ctx, sent) {
					w.end(nil)
					return
				}
				continue
			case <-quiet:
				idle.Reset(w.opts.Bookmarks)
				// Read before take: all events up to it are pending by then, or were.
				reached := w.cache.dispatched.Load()
				if batch = w.seen(); len(batch) == 0 {
					if reached <= told {
						continue
					}
					batch = []*Event{newEvent(Bookmark, nil, nil, nil, reached)}
				}
			case <-ctx.Done():
				w.end(nil)
				return
			case <-w.done:
				return
			}
		}
		select {
		case w.out <- batch:
			if w.peers != nil {
				sent = time.Now()
			}
			told = max(told, batch[len(batch)-1].Revision)
			if idle != nil {
				idle.Reset(w.opts.Bookmarks)
			}
		case <-ctx.Done():
			w.end(nil)
			return
		case <-w.done:
			return
		}
	}
}

// The time between two deliveries to one of many watchers of a kind.
const (
	gatherEach = 100 * time.Microsecond // for each watcher: some times what a delivery costs
	gatherMost = 10 * time.Millisecond
)

// gatherTime is how long after a delivery the next one waits.
func gatherTime(watchers int64) time.Duration {
	if watchers < 8 {
		return 0
	}
	return min(time.Duration(watchers)*gatherEach, gatherMost)
}

// gather waits until the last delivery is long enough ago. It returns false when the watch has ended meanwhile.
func (w *Watch) gather(ctx context.Context, sent time.Time) bool {
	if w.peers == nil {
		return true
	}
	wait := gatherTime(w.peers.Load()) - time.Since(sent)
	if wait <= 0 {
		return true
	}
	select {
	case <-w.hurry: // of the batch before
	default:
	}
	if w.much() {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.hurry:
		return true
	case <-ctx.Done():
		return false
	case <-w.done:
		return true // the reader of done ends it
	}
}

func (w *Watch) much() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) >= w.opts.Buffer/4
}

// watchers finds the watches that an event is for. It is guarded by cache.mu.
type watchers struct {
	all    []*Watch
	byKind map[*api.Kind][]*Watch
	// byIndex: kind → index → value → watches, so that an event costs nothing for those who watch other values.
	byIndex map[*api.Kind]map[string]map[string][]*Watch
	// counts of byKind, which watches read without a lock.
	counts map[*api.Kind]*atomic.Int64
}

func newWatchers() watchers {
	return watchers{byKind: map[*api.Kind][]*Watch{}, byIndex: map[*api.Kind]map[string]map[string][]*Watch{}, counts: map[*api.Kind]*atomic.Int64{}}
}

func (ws *watchers) count(k *api.Kind) *atomic.Int64 {
	if ws.counts[k] == nil {
		ws.counts[k] = &atomic.Int64{}
	}
	return ws.counts[k]
}

func (ws *watchers) dispatch(e *Event) {
	for _, w := range ws.all {
		w.push(e)
	}
	for _, w := range ws.byKind[e.Kind] {
		w.push(e)
	}
	byIndex := ws.byIndex[e.Kind]
	if len(byIndex) == 0 {
		return
	}
	for _, ix := range indexesOf(e.Kind) {
		byValue := byIndex[ix.Name]
		if len(byValue) == 0 {
			continue
		}
		values := slices.Clone(ix.Values(e.Object))
		if e.Old != nil {
			values = append(values, ix.Values(e.Old)...)
		}
		slices.SortFunc(values, strings.Compare)
		for _, v := range slices.Compact(values) {
			for _, w := range byValue[v] {
				w.push(e)
			}
		}
	}
}

func (ws *watchers) add(w *Watch) {
	if w.opts.Gather && len(w.opts.Kinds) == 1 && w.opts.Index == "" {
		w.peers, w.hurry = ws.count(w.opts.Kinds[0]), make(chan struct{}, 1)
	}
	ws.each(w, func(list []*Watch) []*Watch { return append(list, w) })
}

func (ws *watchers) remove(w *Watch) {
	ws.each(w, func(list []*Watch) []*Watch {
		return slices.DeleteFunc(list, func(other *Watch) bool { return other == w })
	})
}

// each rewrites every list that w belongs to.
func (ws *watchers) each(w *Watch, rewrite func([]*Watch) []*Watch) {
	if len(w.opts.Kinds) == 0 {
		ws.all = rewrite(ws.all)
		return
	}
	for _, k := range w.opts.Kinds {
		if w.opts.Index == "" {
			ws.byKind[k] = rewrite(ws.byKind[k])
			ws.count(k).Store(int64(len(ws.byKind[k])))
			if len(ws.byKind[k]) == 0 {
				delete(ws.byKind, k)
			}
			continue
		}
		if ws.byIndex[k] == nil {
			ws.byIndex[k] = map[string]map[string][]*Watch{}
		}
		byValue := ws.byIndex[k][w.opts.Index]
		if byValue == nil {
			byValue = map[string][]*Watch{}
			ws.byIndex[k][w.opts.Index] = byValue
		}
		byValue[w.opts.Value] = rewrite(byValue[w.opts.Value])
		if len(byValue[w.opts.Value]) == 0 {
			delete(byValue, w.opts.Value)
		}
	}
}

func (ws *watchers) endAll(err error) {
	for _, w := range ws.all {
		w.end(err)
	}
	for k := range ws.byKind {
		ws.endList(ws.byKind[k], err)
	}
	for k := range ws.byIndex {
		ws.endIndexes(k, err)
	}
}

// endKind ends the watches that name k.
func (ws *watchers) endKind(k *api.Kind) {
	err := fmt.Errorf("%s: %w", k.Kind, ErrKindRemoved)
	ws.endList(ws.byKind[k], err)
	ws.endIndexes(k, err)
	delete(ws.counts, k)
}

func (ws *watchers) endIndexes(k *api.Kind, err error) {
	for _, byValue := range ws.byIndex[k] {
		for _, list := range byValue {
			ws.endList(list, err)
		}
	}
}

func (ws *watchers) endList(list []*Watch, err error) {
	for _, w := range list {
		w.end(err)
	}
}
