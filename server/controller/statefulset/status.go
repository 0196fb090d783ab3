package statefulset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// statusOf counts the pods by revision. When all are of the update revision and ready, the rollout is over: that is the current one then.
func statusOf(h have, p plan, generation int64, now time.Time) appsv1.StatefulSetStatus {
	s := appsv1.StatefulSetStatus{
		ObservedGeneration: max(h.set.Status.ObservedGeneration, generation), CurrentRevision: p.current.Name, UpdateRevision: p.update.Name,
		CollisionCount: h.set.Status.CollisionCount, Conditions: h.set.Status.Conditions,
	}
	if s.CollisionCount == nil {
		s.CollisionCount = new(int32)
	}
	for _, pod := range h.pods.Own {
		s.Replicas++
		if pod.Status.Phase == corev1.PodRunning {
			switch wait := replica.AvailableIn(pod, h.set.Spec.MinReadySeconds, now); {
			case wait == 0:
				s.ReadyReplicas++
				s.AvailableReplicas++
			case wait > 0:
				s.ReadyReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if pod.Labels[revisionLabel] == p.current.Name {
			s.CurrentReplicas++
		}
		if pod.Labels[revisionLabel] == p.update.Name {
			s.UpdatedReplicas++
		}
	}
	if n := int32(size(h.set)); s.UpdatedReplicas == n && s.ReadyReplicas == n && s.Replicas == n {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
	return s
}

func writeStatus(ctx context.Context, c *client.Client, set *appsv1.StatefulSet, want appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(want, set.Status) {
		return nil
	}
	_, err := client.Change(ctx, c, set, "status", func(next *appsv1.StatefulSet) {
		conditions := next.Status.Conditions
		next.Status = want
		next.Status.Conditions = conditions
	})
	if controller.IgnoreGone(err) != nil {
		return fmt.Errorf("stateful set %s/%s: write the status: %w", set.Namespace, set.Name, err)
	}
	return nil
}
