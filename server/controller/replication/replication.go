// Package replication keeps the number of pods that a ReplicationController asks for.
package replication

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// New returns the controller; its keys are ReplicationControllers, "namespace/name".
func New(now func() time.Time) controller.Controller {
	return replica.New(replica.Kind[*corev1.ReplicationController]{
		Controller: "replication-controller", GVK: corev1.SchemeGroupVersion.WithKind("ReplicationController"), Example: &corev1.ReplicationController{},
		Set: setOf, WriteStatus: writeStatus,
	}, now)
}

func setOf(rc *corev1.ReplicationController) (replica.Set, error) {
	replicas := 1
	if rc.Spec.Replicas != nil {
		replicas = int(*rc.Spec.Replicas)
	}
	return replica.Set{Selector: labels.Set(rc.Spec.Selector).AsSelectorPreValidated(), Replicas: replicas,
		MinReadySeconds: rc.Spec.MinReadySeconds, Template: rc.Spec.Template}, nil
}

func writeStatus(ctx context.Context, c *client.Client, rc *corev1.ReplicationController, s replica.Status, now metav1.Time) error {
	want := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeled, ReadyReplicas: s.Ready, AvailableReplicas: s.Available,
		ObservedGeneration: rc.Generation,
		Conditions: replica.Conditions(rc.Status.Conditions, s,
			func(c corev1.ReplicationControllerCondition) (bool, string) {
				return c.Type == corev1.ReplicationControllerReplicaFailure, c.Reason
			},
			func() corev1.ReplicationControllerCondition {
				return corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerReplicaFailure, Status: corev1.ConditionTrue,
					LastTransitionTime: now, Reason: s.FailureReason, Message: s.FailureMessage}
			}),
	}
	if equality.Semantic.DeepEqual(want, rc.Status) {
		return nil
	}
	_, err := client.Change(ctx, c, rc, "status", func(next *corev1.ReplicationController) { next.Status = want })
	return controller.IgnoreGone(err)
}
