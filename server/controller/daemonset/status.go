package daemonset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// statusOf counts nodes by the oldest pod of each; next is when a pod that is ready becomes available.
func statusOf(h have, hash string, generation int64, now time.Time) (s appsv1.DaemonSetStatus, next time.Duration) {
	s = *h.ds.Status.DeepCopy() // collisionCount and conditions are not ours to count
	s.ObservedGeneration = max(s.ObservedGeneration, generation)
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = 0, 0, 0
	s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable = 0, 0, 0
	f := fitOf(h.ds)
	for _, node := range h.nodes {
		run, _ := f.on(node)
		pods := h.byNode[node.Name]
		if !run {
			if len(pods) > 0 {
				s.NumberMisscheduled++
			}
			continue
		}
		s.DesiredNumberScheduled++
		if len(pods) == 0 {
			continue
		}
		s.CurrentNumberScheduled++
		if pods[0].Labels[hashLabel] == hash {
			s.UpdatedNumberScheduled++
		}
		switch wait := replica.AvailableIn(pods[0], h.ds.Spec.MinReadySeconds, now); {
		case wait > 0:
			s.NumberReady++
			next = soonest(next, wait)
		case wait == 0:
			s.NumberReady++
			s.NumberAvailable++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s, next
}

func writeStatus(ctx context.Context, c *client.Client, ds *appsv1.DaemonSet, want appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(want, ds.Status) {
		return nil
	}
	_, err := client.Change(ctx, c, ds, "status", func(next *appsv1.DaemonSet) {
		collisions, conditions := next.Status.CollisionCount, next.Status.Conditions
		next.Status = want
		next.Status.CollisionCount, next.Status.Conditions = collisions, conditions
	})
	if controller.IgnoreGone(err) != nil {
		return fmt.Errorf("daemon set %s/%s: write the status: %w", ds.Namespace, ds.Name, err)
	}
	return nil
}
