package fairness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// DebugPath is where Dump is served.
const DebugPath = "/debug/api_priority_and_fairness/"

// view is the state of a level at one moment.
type view struct {
	name                         string
	config                       levelConfig
	limit, seats, requests       int
	queued, wanted, peak, active int
	demand, clock                float64
	dispatched                   uint64
	turnedAway                   map[string]uint64
	queues                       []queueView
	waiting                      []waiter
}

type queueView struct {
	waiting, wanted, executing int
	clock                      float64
}

func (l *level) view() view {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := view{name: l.name, config: l.config, limit: l.limit, seats: l.seats, requests: l.requests, queued: l.queued,
		wanted: l.wanted, peak: l.peak, active: len(l.order.active), demand: l.demand, clock: l.order.clock,
		dispatched: l.dispatched, turnedAway: maps.Clone(l.turnedAway)}
	return v
}

// full is view with all queues and the requests in them.
func (l *level) full() view {
	v := l.view()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.order.queues {
		v.queues = append(v.queues, queueView{len(q.waiting), q.wanted, q.executing, q.clock})
		for _, w := range q.waiting {
			v.waiting = append(v.waiting, *w)
		}
	}
	return v
}

// ServeHTTP shows levels, queues and waiting requests as comma-separated tables, as upstream's debug endpoints do.
func (f *Fairness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := f.current.Load()
	levels := slices.Sorted(maps.Keys(s.levels))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tw := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
	defer tw.Flush()
	switch strings.TrimPrefix(r.URL.Path, DebugPath) {
	case "dump_priority_levels":
		row(tw, "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests", "CurrentLimit", "ExecutingSeats")
		for _, name := range levels {
			v := s.levels[name].view()
			row(tw, name, v.active, v.requests == 0 && v.queued == 0, false, v.queued, v.requests, v.dispatched,
				v.turnedAway[ReasonQueueFull]+v.turnedAway[ReasonConcurrency], v.turnedAway[ReasonTimeout], v.turnedAway[ReasonCancelled], v.limit, v.seats)
		}
	case "dump_queues":
		row(tw, "PriorityLevelName", "Index", "PendingRequests", "SeatsWaiting", "SeatsInUse", "NextDispatchR")
		for _, name := range levels {
			for i, q := range s.levels[name].full().queues {
				row(tw, name, i, q.waiting, q.wanted, q.executing, fmt.Sprintf("%.6fss", q.clock))
			}
		}
	case "dump_requests":
		row(tw, "PriorityLevelName", "FlowSchemaName", "RequestIndexInQueue", "ArriveTime", "InitialSeats", "UserName", "Verb", "Resource")
		for _, name := range levels {
			for i, q := range s.levels[name].full().waiting {
				row(tw, name, q.class.schema, i, q.since.UTC().Format(time.RFC3339Nano), q.seats, q.user, q.verb, q.what)
			}
		}
	default:
		http.NotFound(w, r)
	}
}

// row writes one line. Names come from users: they must not make lines or columns of their own.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			_, _ = io.WriteString(w, ",\t")
		}
		text := fmt.Sprint(c)
		_, _ = io.WriteString(w, strings.Map(func(r rune) rune {
			if r < 0x20 || r == ',' || r == 0x7f {
				return ' '
			}
			return r
		}, text))
	}
	_, _ = io.WriteString(w, "\n")
}
