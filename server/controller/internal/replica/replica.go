package replica

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// Set is a ReplicaSet or ReplicationController, as far as this package cares.
type Set struct {
	Object          api.Object
	GVK             schema.GroupVersionKind
	Selector        labels.Selector
	Replicas        int
	MinReadySeconds int32
	Template        *corev1.PodTemplateSpec
}

// Status is what both kinds' statuses say.
type Status struct {
	Replicas, FullyLabeled, Ready, Available int32
	Terminating                              int32
	// Failure is set when pods could not be created or deleted.
	FailureReason, FailureMessage string
}

// Plan is what to do with the pods of a set.
type Plan struct {
	Adopt, Release []*corev1.Pod
	Create         int
	Delete         []*corev1.Pod
	// After is when a pod that is ready becomes available; 0 if none will.
	After time.Duration
}

// Owned tells whether the set is the controller of obj.
func Owned(obj api.Object, set api.Object) bool {
	ref := metav1.GetControllerOf(obj)
	return ref != nil && ref.UID == set.GetUID()
}

// IsActive tells whether a pod counts as a replica: not finished and not being deleted.
func IsActive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && pod.DeletionTimestamp == nil
}

// ReadySince returns when a pod became ready; ok is false if it is not.
func ReadySince(pod *corev1.Pod) (since time.Time, ok bool) {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// AvailableIn returns how long until a pod has been ready for minReady seconds: 0 if it is available, -1 if it is not ready.
// Without minReady the times do not matter: the clock of the pod's node may be ahead of ours.
func AvailableIn(pod *corev1.Pod, minReady int32, now time.Time) time.Duration {
	since, ready := ReadySince(pod)
	switch {
	case !ready:
		return -1
	case minReady == 0:
		return 0
	case since.IsZero():
		return -1
	}
	return max(0, since.Add(time.Duration(minReady)*time.Second).Sub(now))
}
