package fairness

import (
	"context"
	"sync"
	"time"
)

// level is the state of one priority level. It lives from one configuration to the next under the same name.
type level struct {
	name string

	mu     sync.Mutex
	config levelConfig
	// limit is the number of seats this level may use now: nominal, less what is lent, plus what is borrowed.
	limit int
	order order

	seats    int // in use
	requests int // that run
	queued   int // requests that wait
	wanted   int // seats of those
	timers   int // finished writes that still hold a seat
	// since the start: how many ran, and how many were turned away for which reason
	dispatched uint64
	turnedAway map[string]uint64
	// peak is the most seats that were asked for at once since the last division; demand smooths it.
	peak   int
	demand float64
}

// levelConfig is what the PriorityLevelConfiguration says, in seats.
type levelConfig struct {
	exempt, queuing           bool
	nominal, least, most      int
	queues, hand, queueLength int
}

// Reasons for which a request is turned away, as the metric names them.
const (
	ReasonQueueFull   = "queue-full"
	ReasonConcurrency = "concurrency-limit"
	ReasonTimeout     = "time-out"
	ReasonCancelled   = "cancelled"
)

// Rejected is why a request may not run.
type Rejected struct {
	Class  *Class
	Reason string
	// RetryAfter is how many seconds to wait before trying again.
	RetryAfter int
}

func (r *Rejected) Error() string { return "too many requests, please try again later" }

// Ticket is the right to run. The zero Ticket holds nothing.
type Ticket struct {
	class   *Class
	queue   *queue
	seats   int
	began   time.Time
	charged float64
}

// configure takes over a new configuration; requests that wait stay.
func (l *level) configure(c levelConfig) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.config == c {
		return
	}
	l.config = c
	l.limit = c.nominal
	if c.queuing {
		l.order.resize(max(1, c.queues))
	}
	l.dispatch(time.Now())
}

// resultOfTry says what became of a request at the door.
type resultOfTry int

const (
	runs resultOfTry = iota
	mustWait
	isFull
	isClosed // no queue, no seat
)

// try lets a request in if there is a seat and nobody waits.
func (l *level) try(c *Class, hash uint64, seats int, now time.Time) (Ticket, *queue, resultOfTry) {
	if l.config.exempt {
		l.take(c, seats)
		return Ticket{class: c, seats: seats, began: now}, nil, runs
	}
	seats = l.fitting(seats)
	if !l.config.queuing {
		if l.seats+seats > l.limit {
			l.peak = max(l.peak, l.seats+seats)
			return Ticket{}, nil, isClosed
		}
		l.take(c, seats)
		return Ticket{class: c, seats: seats, began: now}, nil, runs
	}
	q := l.order.choose(hash, l.config.hand)
	if l.queued == 0 && l.seats+seats <= l.limit {
		l.order.arrive(q)
		l.take(c, seats)
		return Ticket{class: c, queue: q, seats: seats, began: now, charged: l.order.begin(q, seats)}, q, runs
	}
	l.peak = max(l.peak, l.seats+l.wanted+seats)
	if len(q.waiting) >= l.config.queueLength {
		return Ticket{}, q, isFull
	}
	return Ticket{}, q, mustWait
}

// fitting: a request never needs more seats than the level could ever give it.
func (l *level) fitting(seats int) int { return max(1, min(seats, l.limit)) }

func (l *level) take(c *Class, seats int) {
	l.seats += seats
	l.requests++
	l.dispatched++
	l.peak = max(l.peak, l.seats+l.wanted)
	c.running++
	c.seats += seats
}

// enter waits for a seat.
func (l *level) enter(ctx context.Context, c *Class, r *Request, hash uint64, seats int, f *Fairness) (Ticket, error) {
	now := f.cfg.Now()
	l.mu.Lock()
	t, q, result := l.try(c, hash, seats, now)
	if result != runs && f.dueToReallocate(now) {
		l.mu.Unlock()
		f.reallocate(now)
		l.mu.Lock()
		t, q, result = l.try(c, hash, seats, now)
	}
	if result == runs {
		l.mu.Unlock()
		c.metrics.dispatched.Inc()
		return t, nil
	}
	if result != mustWait {
		reason := ReasonQueueFull
		if result == isClosed {
			reason = ReasonConcurrency
		}
		again := l.turnAway(reason)
		l.mu.Unlock()
		return Ticket{}, c.reject(reason, again)
	}
	w := &waiter{class: c, queue: q, seats: l.fitting(seats), since: now, granted: make(chan struct{}),
		user: r.userName(), verb: r.Verb, what: r.what()}
	l.order.enqueue(w)
	l.queued++
	l.wanted += w.seats
	c.waiting++
	c.metrics.queueLength.Observe(float64(len(q.waiting)))
	l.mu.Unlock()
	return l.wait(ctx, w, f)
}

// wait until the request is dispatched, its time is over or its client is gone.
func (l *level) wait(ctx context.Context, w *waiter, f *Fairness) (Ticket, error) {
	timer := time.NewTimer(f.cfg.Wait)
	defer timer.Stop()
	reason := ReasonTimeout
	select {
	case <-w.granted:
	case <-timer.C:
	case <-ctx.Done():
		if ctx.Err() == context.Canceled {
			reason = ReasonCancelled
		}
	}
	l.mu.Lock()
	now := f.cfg.Now()
	waited := now.Sub(w.since).Seconds()
	if w.running { // perhaps at the last moment: then it runs
		t := Ticket{class: w.class, queue: w.queue, seats: w.seats, began: w.began, charged: w.charged}
		l.mu.Unlock()
		w.class.metrics.waitedRun.Observe(w.began.Sub(w.since).Seconds())
		w.class.metrics.dispatched.Inc()
		return t, nil
	}
	l.order.leave(w)
	l.queued--
	l.wanted -= w.seats
	w.class.waiting--
	again := l.turnAway(reason)
	l.dispatch(now) // a wide request that gave up may have stood in the way of others
	l.mu.Unlock()
	w.class.metrics.waitedNot.Observe(waited)
	return Ticket{}, w.class.reject(reason, again)
}

// dispatch lets waiting requests run while there are seats, in fair order. The head of the line is waited for when it
// is wide: nobody overtakes it, or it would never run.
func (l *level) dispatch(now time.Time) {
	for {
		q := l.order.next()
		if q == nil {
			return
		}
		w := q.waiting[0]
		if !l.config.exempt && l.seats > 0 && l.seats+w.seats > l.limit {
			return
		}
		if l.limit <= 0 && !l.config.exempt {
			return
		}
		q.pop()
		if len(q.waiting) == 0 {
			l.order.deactivate(q)
		}
		w.running, w.began, w.charged = true, now, l.order.begin(q, w.seats)
		l.queued--
		l.wanted -= w.seats
		w.class.waiting--
		l.take(w.class, w.seats)
		close(w.granted)
	}
}

// turnAway counts a request that may not run, and says when to come back.
func (l *level) turnAway(reason string) (retryAfter int) {
	if l.turnedAway == nil {
		l.turnedAway = map[string]uint64{}
	}
	l.turnedAway[reason]++
	return l.retryAfter()
}

// retryAfter is about how long the queues take to drain, in whole seconds.
func (l *level) retryAfter() int {
	seconds := float64(l.wanted) * l.order.cost / float64(max(1, l.limit))
	return max(1, min(32, int(seconds)))
}

// Done gives the seats back.
func (t *Ticket) Done() { t.DoneAfter(0) }

// DoneAfter gives the seats back; one of them only after the work that the request has left behind.
func (t *Ticket) DoneAfter(extra time.Duration) {
	c := t.class
	if c == nil {
		return
	}
	t.class = nil
	l, now := c.level, c.fairness.cfg.Now()
	took := now.Sub(t.began)
	l.mu.Lock()
	release := t.seats
	if extra > 0 && !l.config.exempt && l.timers < mostExtraTimers {
		release--
		l.timers++
		time.AfterFunc(extra, l.endOfExtraWork)
	}
	if t.queue != nil {
		l.order.end(t.queue, t.seats, took, t.charged)
		if release < t.seats {
			t.queue.clock += extra.Seconds()
		}
	}
	l.seats -= release
	l.requests--
	c.running--
	c.seats -= t.seats
	if l.queued > 0 {
		l.dispatch(now)
	}
	l.mu.Unlock()
	c.metrics.executed(t.queue != nil).Observe(took.Seconds())
}

func (l *level) endOfExtraWork() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timers--
	l.seats--
	l.dispatch(time.Now())
}
