package fairness

import (
	"slices"
	"time"
)

// queue is one of a level's. It is guarded by the level's lock.
type queue struct {
	waiting []*waiter
	// clock is the virtual time at which the next request of this queue starts: seat-seconds of service.
	clock float64
	// executing and wanted are seats: of requests that run, and of those that wait.
	executing, wanted int
}

// waiter is a request in a queue.
type waiter struct {
	class *Class
	queue *queue
	seats int
	since time.Time
	// granted is closed under the level's lock when the request may run.
	granted chan struct{}
	running bool
	began   time.Time
	charged float64
	// For the dump of requests.
	user, verb, what string
}

// busy is what the choice among a hand of queues goes by.
func (q *queue) busy() int { return q.executing + q.wanted }

func (q *queue) push(w *waiter) {
	q.waiting = append(q.waiting, w)
	q.wanted += w.seats
}

func (q *queue) pop() *waiter {
	w := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.wanted -= w.seats
	return w
}

// remove takes out a request that gave up.
func (q *queue) remove(w *waiter) {
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.wanted -= w.seats
	}
}

// order is the fair order between a level's queues.
type order struct {
	queues []*queue
	// active are the queues in which somebody waits, in no order.
	active []*queue
	// clock is the start of the request that was dispatched last.
	clock float64
	// cost guesses how many seconds a request holds its seats, from those that ended.
	cost float64
}

const (
	firstCost          = 0.005
	leastCost, topCost = 0.0005, 1.0
)

// resize makes n queues. Requests in queues that are gone stay in line until they are dispatched.
func (o *order) resize(n int) {
	if o.cost == 0 {
		o.cost = firstCost
	}
	for len(o.queues) < n {
		o.queues = append(o.queues, &queue{})
	}
	o.queues = slices.Clip(o.queues[:n])
}

// choose is the least busy queue of a flow's hand.
func (o *order) choose(hash uint64, hand int) *queue {
	var cards [maxHand]int
	var best *queue
	for _, i := range deal(hash, len(o.queues), hand, &cards) {
		if q := o.queues[i]; best == nil || q.busy() < best.busy() {
			best = q
		}
	}
	return best
}

// arrive starts the clock of a queue in which nobody waits.
func (o *order) arrive(q *queue) {
	if len(q.waiting) == 0 {
		q.clock = max(q.clock, o.clock)
	}
}

func (o *order) enqueue(w *waiter) {
	o.arrive(w.queue)
	w.queue.push(w)
	if len(w.queue.waiting) == 1 {
		o.active = append(o.active, w.queue)
	}
}

// leave takes a request out that gave up.
func (o *order) leave(w *waiter) {
	w.queue.remove(w)
	if len(w.queue.waiting) == 0 {
		o.deactivate(w.queue)
	}
}

func (o *order) deactivate(q *queue) {
	if i := slices.Index(o.active, q); i >= 0 {
		last := len(o.active) - 1
		o.active[i], o.active[last] = o.active[last], nil
		o.active = o.active[:last]
	}
}

// next is the queue whose turn it is; nil when nobody waits.
func (o *order) next() *queue {
	var best *queue
	for _, q := range o.active {
		if best == nil || q.clock < best.clock {
			best = q
		}
	}
	return best
}

// begin charges a queue with a request that starts, and returns what it was charged.
func (o *order) begin(q *queue, seats int) (charged float64) {
	o.clock = max(o.clock, q.clock)
	charged = float64(seats) * o.cost
	q.clock += charged
	q.executing += seats
	return charged
}

// end corrects the charge by what the request really took.
func (o *order) end(q *queue, seats int, took time.Duration, charged float64) {
	seconds := took.Seconds()
	q.executing -= seats
	q.clock += float64(seats)*seconds - charged
	o.cost = min(topCost, max(leastCost, o.cost+0.05*(seconds-o.cost)))
}
