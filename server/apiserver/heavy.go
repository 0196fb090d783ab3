package apiserver

import "runtime"

// heavyFrom is how many objects make an answer heavy.
const heavyFrom = 100

// heavy lets only as many goroutines encode long lists at once as there are processors. Go's scheduler knows no
// priorities and lets each of them run for 10 ms; without this, fifty lists at once would make a get, which passes from
// goroutine to goroutine six times, wait for all of them six times.
type heavy chan struct{}

func newHeavy() heavy { return make(heavy, runtime.GOMAXPROCS(0)) }

// enterHeavy waits for a processor for the rest of the answer; leaveHeavy gives it back. While the answer is written to
// the client (response.Write) somebody else may have it. Versions that are converted do without: a conversion may wait
// for a webhook, and whoever holds a processor here must not wait.
func (q *request) enterHeavy(objects int) {
	if objects < heavyFrom || q.w.heavy != nil || q.version.FromHub != nil {
		return
	}
	select {
	case q.heavy <- struct{}{}:
		q.w.heavy = q.heavy
	case <-q.r.Context().Done():
	}
}

func (w *response) leaveHeavy() {
	if w.heavy != nil {
		<-w.heavy
		w.heavy = nil
	}
}
