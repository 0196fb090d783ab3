// Package replicaset keeps the number of pods that a ReplicaSet asks for.
package replicaset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// New returns the controller; its keys are ReplicaSets, "namespace/name".
func New(now func() time.Time) controller.Controller {
	return replica.New(replica.Kind[*appsv1.ReplicaSet]{
		Controller: "replicaset-controller", GVK: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), Example: &appsv1.ReplicaSet{},
		Set: setOf, Related: related, WriteStatus: writeStatus,
	}, now)
}

func setOf(rs *appsv1.ReplicaSet) (replica.Set, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return replica.Set{}, err
	}
	replicas := 1
	if rs.Spec.Replicas != nil {
		replicas = int(*rs.Spec.Replicas)
	}
	return replica.Set{Selector: selector, Replicas: replicas, MinReadySeconds: rs.Spec.MinReadySeconds, Template: &rs.Spec.Template}, nil
}

// related counts the active pods by node of all ReplicaSets with the same controller.
func related(s client.Snapshot, rs *appsv1.ReplicaSet) map[string]int {
	ref := metav1.GetControllerOf(rs)
	if ref == nil {
		return nil
	}
	siblings := map[types.UID]bool{}
	for other := range client.List[*appsv1.ReplicaSet](s, rs.Namespace) {
		if o := metav1.GetControllerOf(other); o != nil && o.UID == ref.UID {
			siblings[other.UID] = true
		}
	}
	counts := map[string]int{}
	for pod := range client.List[*corev1.Pod](s, rs.Namespace) {
		if o := metav1.GetControllerOf(pod); o != nil && siblings[o.UID] && replica.IsActive(pod) {
			counts[pod.Spec.NodeName]++
		}
	}
	return counts
}

func writeStatus(ctx context.Context, c *client.Client, rs *appsv1.ReplicaSet, s replica.Status, now metav1.Time) error {
	want := appsv1.ReplicaSetStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeled, ReadyReplicas: s.Ready, AvailableReplicas: s.Available,
		TerminatingReplicas: &s.Terminating,
		ObservedGeneration:  rs.Generation,
		Conditions: replica.Conditions(rs.Status.Conditions, s,
			func(c appsv1.ReplicaSetCondition) (bool, string) {
				return c.Type == appsv1.ReplicaSetReplicaFailure, c.Reason
			},
			func() appsv1.ReplicaSetCondition {
				return appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
					LastTransitionTime: now, Reason: s.FailureReason, Message: s.FailureMessage}
			}),
	}
	if equality.Semantic.DeepEqual(want, rs.Status) {
		return nil
	}
	_, err := client.Change(ctx, c, rs, "status", func(next *appsv1.ReplicaSet) { next.Status = want })
	return controller.IgnoreGone(err)
}
