package scheduler

import (
	"cmp"
	"container/heap"
	"time"
)

// backlog holds the pods that want a node: the ready ones in the order in which they are to be tried, and the others
// until something happens that could help them, or until they have waited long enough.
//
//	add ─▶ ready ──next──▶ away ──refused, not bound──▶ waiting ──wake, due──▶ ready
//	                        └──placed──▶ remove
type backlog struct {
	items map[string]*item
	ready itemHeap // by priority, then by arrival
	later itemHeap // waiting, by the time at which they are tried anyway
	seq   int64
}

type item struct {
	pod      *podInfo
	seq      int64
	attempts int
	tried    time.Time
	wakes    change
	due      time.Time // when waiting
	heap     *itemHeap // in which it is
	index    int
}

const (
	// A pod that was refused is tried again at once when something happens that could help, but not more often than
	// this, doubled with each attempt up to the last.
	firstBackoff = 10 * time.Millisecond
	lastBackoff  = time.Second
	// patience is when a pod is tried again though nothing happened that should help.
	patience = 5 * time.Minute
)

func newBacklog() *backlog {
	return &backlog{items: map[string]*item{},
		ready: itemHeap{less: func(a, b *item) bool {
			return cmp.Or(cmp.Compare(b.pod.priority, a.pod.priority), cmp.Compare(a.seq, b.seq)) < 0
		}},
		later: itemHeap{less: func(a, b *item) bool { return a.due.Before(b.due) }},
	}
}

// add puts a pod in, to be tried at once. One that is in already is replaced and tried again.
func (b *backlog) add(p *podInfo) {
	it := b.items[p.key]
	if it == nil || it.pod.UID != p.UID {
		b.remove(p.key)
		b.seq++
		it = &item{seq: b.seq}
		b.items[p.key] = it
	}
	it.leave()
	it.pod = p
	it.enter(&b.ready)
}

// refresh replaces what is known of a pod, without trying it again.
func (b *backlog) refresh(p *podInfo) {
	if it := b.items[p.key]; it != nil && it.pod.UID == p.UID {
		it.pod = p
		if it.heap == &b.ready {
			heap.Fix(it.heap, it.index)
		}
	}
}

func (b *backlog) remove(key string) {
	if it := b.items[key]; it != nil {
		it.leave()
		delete(b.items, key)
	}
}

// attempts is how often a pod was taken up.
func (b *backlog) attempts(key string) int {
	if it := b.items[key]; it != nil {
		return it.attempts
	}
	return 0
}

// next takes the first ready pod. It is away (decided on, being bound) until it is removed or sent to wait.
func (b *backlog) next(now time.Time) *podInfo {
	if len(b.ready.items) == 0 {
		return nil
	}
	it := b.ready.items[0]
	it.leave()
	it.attempts++
	it.tried = now
	return it.pod
}

// wait makes a pod wait for one of the changes; with none, it is tried again after its back-off.
func (b *backlog) wait(key string, wakes change) {
	it := b.items[key]
	if it == nil {
		return
	}
	it.leave()
	it.wakes = wakes
	it.due = it.tried.Add(patience)
	if wakes == 0 {
		it.due = it.tried.Add(it.backoff())
	}
	it.enter(&b.later)
}

// wake makes those ready that changes could help, at the end of their back-off if they are in one.
func (b *backlog) wake(changes change, now time.Time) {
	if changes == 0 {
		return
	}
	for _, it := range b.items {
		if it.heap != &b.later || it.wakes&changes == 0 {
			continue
		}
		if at := it.tried.Add(it.backoff()); at.Before(it.due) {
			it.due = at
			heap.Fix(&b.later, it.index)
		}
	}
	b.expire(now)
}

// expire makes those ready that have waited long enough.
func (b *backlog) expire(now time.Time) {
	for len(b.later.items) > 0 && !b.later.items[0].due.After(now) {
		it := b.later.items[0]
		it.leave()
		it.enter(&b.ready)
	}
}

// nextDue is when expire has something to do again.
func (b *backlog) nextDue() (at time.Time, ok bool) {
	if len(b.later.items) == 0 {
		return at, false
	}
	return b.later.items[0].due, true
}

// backoff after the attempts so far; the first retry is free.
func (it *item) backoff() time.Duration {
	if it.attempts <= 1 {
		return 0
	}
	return min(firstBackoff<<min(it.attempts-2, 20), lastBackoff)
}

func (it *item) enter(h *itemHeap) {
	it.heap = h
	heap.Push(h, it)
}

func (it *item) leave() {
	if it.heap != nil {
		heap.Remove(it.heap, it.index)
		it.heap = nil
	}
}

// itemHeap is a container/heap of items that know their index.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h *itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(h.items)
	h.items = append(h.items, it)
}
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	it := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return it
}
