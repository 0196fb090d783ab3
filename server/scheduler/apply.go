package scheduler

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
)

// apply carries a decision out: what it changes in the cluster at once, what it writes beside.
func (s *Scheduler) apply(ctx context.Context, d decision) {
	if d.node != "" {
		s.cluster.nominate(d.pod, "")
		s.cluster.place(d.pod, d.node, true)
		s.beside(ctx, func() { s.bind(ctx, d) })
		return
	}
	s.metrics.attempted(resultUnschedulable, time.Since(d.began))
	if len(d.victims) > 0 {
		s.metrics.preemption(len(d.victims))
	}
	s.backlog.wait(d.pod.key, d.wakes)
	s.cluster.nominate(d.pod, d.nominate)
	for _, victim := range d.victims {
		s.cluster.evicting[victim.key] = victim.UID
	}
	s.mu.Lock()
	s.refusing[d.pod.key] = append(s.refusing[d.pod.key], d)
	first := len(s.refusing[d.pod.key]) == 1
	s.mu.Unlock()
	if first {
		s.beside(ctx, func() { s.refuseInOrder(ctx, d.pod.key) })
	}
}

// refuseInOrder writes the refusals of a pod until there are no more.
func (s *Scheduler) refuseInOrder(ctx context.Context, key string) {
	for {
		s.mu.Lock()
		next := s.refusing[key][0]
		s.mu.Unlock()
		s.refuse(ctx, next)
		s.mu.Lock()
		s.refusing[key] = s.refusing[key][1:]
		done := len(s.refusing[key]) == 0
		if done {
			delete(s.refusing, key)
		}
		s.mu.Unlock()
		if done {
			return
		}
	}
}

// beside runs write on a goroutine of its own, when there is room for one more.
func (s *Scheduler) beside(ctx context.Context, write func()) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.writes.Go(func() {
		defer func() { <-s.slots }()
		write()
	})
}

func (s *Scheduler) bind(ctx context.Context, d decision) {
	pod := d.pod.Pod
	binding := time.Now()
	err := s.api.bind(ctx, pod, d.node)
	s.metrics.step("Bind", err, time.Since(binding))
	if err != nil {
		s.metrics.attempted(resultError, time.Since(d.began))
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			s.log.Warn("A pod was not bound and is tried again", "pod", d.pod.key, "node", d.node, "error", err)
		}
		s.failed(outcome{d.pod.key, pod.UID})
		return
	}
	s.metrics.attempted(resultScheduled, time.Since(d.began))
	s.metrics.tries.Observe(float64(d.attempts))
	s.api.event(pod, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s to %s", d.pod.key, d.node))
}

// refuse tells why a pod has no node, and evicts those that are in its way. Evictions come last: when the victims go, the
// pod shows already that it waits for their node.
func (s *Scheduler) refuse(ctx context.Context, d decision) {
	s.api.event(d.pod.Pod, corev1.EventTypeWarning, "FailedScheduling", d.message)
	if err := s.api.refuse(ctx, d.pod.Pod, d.message, d.nominate); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		s.log.Warn("The status of an unschedulable pod was not written", "pod", d.pod.key, "error", err)
		return
	}
	for _, victim := range d.victims {
		if err := s.api.evict(ctx, victim.Pod); err != nil {
			if !apierrors.IsNotFound(err) && ctx.Err() == nil {
				s.log.Warn("A pod was not preempted", "pod", victim.key, "for", d.pod.key, "error", err)
			}
			s.failed(outcome{victim.key, victim.UID})
			continue
		}
		s.api.event(victim.Pod, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", d.pod.UID, d.nominate))
	}
}

// writer is what the scheduler does to the API.
type writer interface {
	bind(ctx context.Context, pod *corev1.Pod, node string) error
	refuse(ctx context.Context, pod *corev1.Pod, message, nominate string) error
	evict(ctx context.Context, victim *corev1.Pod) error
	event(pod *corev1.Pod, kind, reason, message string)
}

// apiWriter writes through the in-process client.
type apiWriter struct {
	client *client.Client
	// narrator is the client under the name that events show.
	narrator *client.Client
	now      func() time.Time
}

func newAPIWriter(c *client.Client, now func() time.Time) *apiWriter {
	groups := []string{wellknown.GroupAuthenticated}
	return &apiWriter{
		client:   c.As(&user.DefaultInfo{Name: wellknown.UserScheduler, Groups: groups}),
		narrator: c.As(&user.DefaultInfo{Name: corev1.DefaultSchedulerName, Groups: groups}),
		now:      now,
	}
}

func (w *apiWriter) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	_, err := w.client.Act(ctx, pod, "binding", &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	})
	return err
}

// refuse sets the condition PodScheduled to False, and the node on which the pod waits for room. A pod that has a node by
// now, or is another one, is left alone.
func (w *apiWriter) refuse(ctx context.Context, pod *corev1.Pod, message, nominate string) error {
	_, err := w.client.Mutate(ctx, pod, "status", func(obj api.Object) error {
		current := obj.(*corev1.Pod)
		if current.UID != pod.UID || current.Spec.NodeName != "" {
			return nil
		}
		current.Status.NominatedNodeName = nominate
		setCondition(current, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Reason: corev1.PodReasonUnschedulable, Message: message}, w.now())
		return nil
	})
	return err
}

func (w *apiWriter) evict(ctx context.Context, victim *corev1.Pod) error {
	_, err := w.client.Mutate(ctx, victim, "status", func(obj api.Object) error {
		current := obj.(*corev1.Pod)
		if current.UID != victim.UID {
			return nil
		}
		setCondition(current, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: corev1.PodReasonPreemptionByScheduler, Message: "default-scheduler: preempting to accommodate a higher priority pod"}, w.now())
		return nil
	})
	if err != nil {
		return err
	}
	uid := victim.UID
	return w.client.Delete(ctx, victim, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
}

func (w *apiWriter) event(pod *corev1.Pod, kind, reason, message string) {
	w.narrator.Event(pod, kind, reason, "%s", message)
}

// setCondition changes a condition; the time of its last transition only if its status changes.
func setCondition(pod *corev1.Pod, want corev1.PodCondition, now time.Time) {
	want.ObservedGeneration = pod.Generation
	want.LastTransitionTime = metav1.NewTime(now)
	for i := range pod.Status.Conditions {
		have := &pod.Status.Conditions[i]
		if have.Type != want.Type {
			continue
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		want.LastProbeTime = have.LastProbeTime
		*have = want
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, want)
}
