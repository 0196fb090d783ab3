package eviction

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observation of a signal.
type Observation struct{ Available, Capacity int64 }

// State of the thresholds between two looks.
type State struct {
	first map[Threshold]time.Time                // since when each has been passed
	last  map[corev1.NodeConditionType]time.Time // when each condition was last true
	acted map[Threshold]bool                     // those that were acted on, and are not yet resolved with what has to be reclaimed beyond them
}

// Result of a look.
type Result struct {
	// Conditions of the node: true now, or within the transition period.
	Conditions map[corev1.NodeConditionType]bool
	// Short is what to reclaim, the most urgent first.
	Short []Shortage
}

// Look decides what is short. It is pure: the next state is a new value. A signal that was not observed is not short.
func Look(thresholds []Threshold, seen map[Signal]Observation, old State, transition time.Duration, now time.Time) (State, Result) {
	next := State{first: map[Threshold]time.Time{}, last: map[corev1.NodeConditionType]time.Time{}, acted: map[Threshold]bool{}}
	out := Result{Conditions: map[corev1.NodeConditionType]bool{}}
	for _, t := range thresholds {
		o, known := seen[t.Signal]
		if !known {
			continue
		}
		limit := t.Below.Of(o.Capacity)
		if old.acted[t] {
			limit += t.Reclaim.Of(o.Capacity)
		}
		if o.Available >= limit {
			continue
		}
		since, before := old.first[t]
		if !before {
			since = now
		}
		next.first[t] = since
		info := signals[rank(t.Signal)]
		next.last[info.condition] = now
		if now.Sub(since) < t.Grace {
			continue
		}
		next.acted[t] = true
		out.Short = append(out.Short, Shortage{Signal: t.Signal, Resource: info.resource, Threshold: t.Below.Of(o.Capacity), Available: o.Available, Soft: t.Soft})
	}
	for c, at := range old.last {
		if _, again := next.last[c]; !again && now.Sub(at) < transition {
			next.last[c] = at
		}
	}
	for c := range next.last {
		out.Conditions[c] = true
	}
	slices.SortStableFunc(out.Short, func(a, b Shortage) int { return cmp.Compare(rank(a.Signal), rank(b.Signal)) })
	return next, out
}
