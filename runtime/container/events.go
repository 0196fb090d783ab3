package container

import (
	"context"
	"sync"
)

// eventQueue holds each event at most once until the reader takes it, so it never blocks who adds and never grows beyond
// the number of containers.
type eventQueue struct {
	out  chan Event
	wake chan struct{}

	mu      sync.Mutex
	order   []Event
	pending map[Event]bool
}

func newEventQueue() *eventQueue {
	return &eventQueue{out: make(chan Event), wake: make(chan struct{}, 1), pending: map[Event]bool{}}
}

func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	if !q.pending[e] {
		q.pending[e] = true
		q.order = append(q.order, e)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() (e Event, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return Event{}, false
	}
	e = q.order[0]
	q.order = q.order[1:]
	delete(q.pending, e)
	return e, true
}

// deliver passes events on until ctx ends.
func (q *eventQueue) deliver(ctx context.Context) {
	for {
		e, ok := q.take()
		if !ok {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case q.out <- e:
		case <-ctx.Done():
			return
		}
	}
}
