package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the Progressing and Available conditions, as upstream spells them.
const (
	reasonCreated  = "NewReplicaSetCreated"
	reasonFound    = "FoundNewReplicaSet"
	reasonUpdated  = "ReplicaSetUpdated"
	reasonComplete = "NewReplicaSetAvailable"
	reasonTimedOut = "ProgressDeadlineExceeded"
	reasonPaused   = "DeploymentPaused"
	reasonResumed  = "DeploymentResumed"
)

// status computes what the Deployment should say of itself, and after how long the progress deadline passes.
func status(h have, newest *appsv1.ReplicaSet, now metav1.Time) (appsv1.DeploymentStatus, time.Duration) {
	d := h.d
	s := *d.Status.DeepCopy()
	count(&s, h, newest)
	available := condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
	if s.AvailableReplicas >= *d.Spec.Replicas-maxUnavailable(d) {
		available = condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
	}
	setCondition(&s, available)
	after := progress(d, &s, newest, now)
	failure(&s, h)
	return s, after
}

func count(s *appsv1.DeploymentStatus, h have, newest *appsv1.ReplicaSet) {
	var terminating int32
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.UpdatedReplicas, s.UnavailableReplicas = 0, 0, 0, 0, 0
	var asked int32
	for _, rs := range h.sets {
		asked += *rs.Spec.Replicas
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	s.TerminatingReplicas = &terminating
	if newest != nil {
		s.UpdatedReplicas = newest.Status.Replicas
	}
	s.UnavailableReplicas = max(0, asked-s.AvailableReplicas)
	s.ObservedGeneration = h.d.Generation
}

func complete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	n := *d.Spec.Replicas
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

func progressing(before, s appsv1.DeploymentStatus) bool {
	oldBefore, oldNow := before.Replicas-before.UpdatedReplicas, s.Replicas-s.UpdatedReplicas
	return s.UpdatedReplicas > before.UpdatedReplicas || oldNow < oldBefore ||
		s.ReadyReplicas > before.ReadyReplicas || s.AvailableReplicas > before.AvailableReplicas
}

// progress maintains the Progressing condition.
func progress(d *appsv1.Deployment, s *appsv1.DeploymentStatus, newest *appsv1.ReplicaSet, now metav1.Time) time.Duration {
	have := find(s, appsv1.DeploymentProgressing)
	if !hasDeadline(d) { // who wants no deadline gets no word on progress
		s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentProgressing })
		return 0
	}
	if d.Spec.Paused {
		if have == nil || have.Reason != reasonPaused && have.Reason != reasonTimedOut {
			setCondition(s, condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now))
		}
		return 0
	}
	if have != nil && have.Reason == reasonPaused {
		setCondition(s, condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now))
		have = find(s, appsv1.DeploymentProgressing)
	}
	if newest == nil {
		return 0
	}
	subject := fmt.Sprintf("ReplicaSet %q", newest.Name)
	// A rollout that is done stays done, also when pods come and go, until the template changes.
	done := have != nil && have.Reason == reasonComplete && s.UpdatedReplicas == s.Replicas
	switch {
	case complete(d, *s):
		setProgress(s, corev1.ConditionTrue, reasonComplete, subject+" has successfully progressed.", now, have == nil || have.Reason != reasonComplete)
		return 0
	case done:
		return 0
	case have == nil:
		setProgress(s, corev1.ConditionTrue, reasonFound, "Found new replica set "+fmt.Sprintf("%q", newest.Name), now, true)
	case progressing(d.Status, *s) || have.Reason == reasonComplete:
		setProgress(s, corev1.ConditionTrue, reasonUpdated, subject+" is progressing.", now, true)
	case have.Reason == reasonTimedOut:
		return 0
	}
	return deadline(d, s, subject, now)
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// deadline returns how long the rollout may go without progress; when that is over it says so.
func deadline(d *appsv1.Deployment, s *appsv1.DeploymentStatus, subject string, now metav1.Time) time.Duration {
	have := find(s, appsv1.DeploymentProgressing)
	left := have.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second).Sub(now.Time)
	if left > 0 {
		return left
	}
	setCondition(s, condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing.", now))
	return 0
}

// failure shows a ReplicaSet's trouble with its pods.
func failure(s *appsv1.DeploymentStatus, h have) {
	for _, rs := range h.sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				setCondition(s, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime})
				return
			}
		}
	}
	for i := range s.Conditions {
		if s.Conditions[i].Type == appsv1.DeploymentReplicaFailure {
			s.Conditions = append(s.Conditions[:i], s.Conditions[i+1:]...)
			return
		}
	}
}

func condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now metav1.Time) appsv1.DeploymentCondition {
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
}

func find(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setProgress sets the Progressing condition; moved tells that something progressed, which renews its time.
func setProgress(s *appsv1.DeploymentStatus, status corev1.ConditionStatus, reason, message string, now metav1.Time, moved bool) {
	c := condition(appsv1.DeploymentProgressing, status, reason, message, now)
	have := find(s, appsv1.DeploymentProgressing)
	if have == nil {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if have.Status == status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	if !moved {
		c.LastUpdateTime = have.LastUpdateTime
	}
	*have = c
}

// setCondition sets a condition unless status and reason are the same already.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	have := find(s, c.Type)
	switch {
	case have == nil:
		s.Conditions = append(s.Conditions, c)
	case have.Status == c.Status && have.Reason == c.Reason:
	default:
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
	}
}
