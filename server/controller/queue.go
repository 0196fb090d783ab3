package controller

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queue holds the keys of one controller that are to be reconciled. A key is in it once, however often it is added; it is
// never handed out to two workers at a time; and added while it is being worked on, it comes again afterwards.
// There is no goroutine in it: start is called when there is work and fewer than workers are at it.
type queue struct {
	workers int
	start   func()

	mu      sync.Mutex
	ready   []string
	dirty   map[string]time.Time   // in ready, or to be put there when its worker is done; since when
	running map[string]time.Time   // handed out, and when
	timers  map[string]*time.Timer // runs asked for at a time
	failed  map[string]int         // how often in a row, for back-off
	active  int                    // workers
	closed  bool
	// adds and retries are counted for the metrics; waited and worked hear how many seconds each key was in the queue and at work, if they are set.
	adds, retries  int64
	waited, worked prometheus.Observer
}

// Back-off of a key that failed: doubled from the first to the last.
const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = time.Minute
)

func newQueue(workers int, start func()) *queue {
	return &queue{workers: max(workers, 1), start: start, dirty: map[string]time.Time{}, running: map[string]time.Time{},
		timers: map[string]*time.Timer{}, failed: map[string]int{}}
}

func (q *queue) add(keys ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range keys {
		q.addLocked(key)
	}
}

func (q *queue) addLocked(key string) {
	if _, dirty := q.dirty[key]; dirty || q.closed {
		return
	}
	q.dirty[key] = time.Now()
	q.adds++
	if _, running := q.running[key]; running {
		return
	}
	q.ready = append(q.ready, key)
	if q.active < q.workers {
		q.active++
		q.start()
	}
}

// next hands out a key; a worker that gets none has to end.
func (q *queue) next() (key string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.ready) == 0 {
		q.active--
		return "", false
	}
	key, q.ready = q.ready[0], q.ready[1:]
	now := time.Now()
	if q.waited != nil {
		q.waited.Observe(now.Sub(q.dirty[key]).Seconds())
	}
	delete(q.dirty, key)
	q.running[key] = now
	return key, true
}

// done ends the work on a key. after, when not 0, is when it wants to run again; only the last run's wish counts. A
// failed key runs again after its back-off, which is returned.
func (q *queue) done(key string, after time.Duration, failed bool) (attempt int, backoff time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.worked != nil {
		q.worked.Observe(time.Since(q.running[key]).Seconds())
	}
	delete(q.running, key)
	if timer := q.timers[key]; timer != nil {
		timer.Stop()
		delete(q.timers, key)
	}
	if failed {
		attempt = q.failed[key] + 1
		q.retries++
		q.failed[key] = attempt
		after = min(firstBackoff<<min(attempt-1, 20), lastBackoff)
	} else {
		delete(q.failed, key)
	}
	if _, dirty := q.dirty[key]; dirty {
		delete(q.dirty, key)
		q.addLocked(key)
	}
	if after > 0 && !q.closed {
		q.timers[key] = time.AfterFunc(after, func() { q.add(key) })
	}
	return attempt, after
}

// close drops what waits. What is being worked on goes on.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, timer := range q.timers {
		timer.Stop()
	}
	q.timers, q.ready = nil, nil
}

// lengths says how many keys wait, are worked on, and are in back-off.
func (q *queue) lengths() (waiting, running, failing int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready), len(q.running), len(q.failed)
}
