// Package replication keeps the number of pods that a ReplicationController asks for.
package replication

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

var gvk = corev1.SchemeGroupVersion.WithKind("ReplicationController")

// New returns the controller; its keys are ReplicationControllers, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "replication-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &corev1.ReplicationController{}, Keys: replica.OwnKey},
			{Kind: &corev1.Pod{}, Keys: replica.PodKeys("ReplicationController", func(s client.Snapshot, pod *corev1.Pod) (keys []string) {
				for rc := range client.List[*corev1.ReplicationController](s, pod.Namespace) {
					if replica.Selects(setOf(rc), pod) {
						keys = append(keys, rc.Namespace+"/"+rc.Name)
					}
				}
				return keys
			})},
		},
		Reconcile: l.reconcile,
	}
}

type loop struct{ now func() time.Time }

func setOf(rc *corev1.ReplicationController) replica.Set {
	replicas := 1
	if rc.Spec.Replicas != nil {
		replicas = int(*rc.Spec.Replicas)
	}
	return replica.Set{Object: rc, GVK: gvk, Selector: labels.Set(rc.Spec.Selector).AsSelectorPreValidated(), Replicas: replicas,
		MinReadySeconds: rc.Spec.MinReadySeconds, Template: rc.Spec.Template}
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	rc, ok := client.Get[*corev1.ReplicationController](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	set := setOf(rc)
	pods := replica.Pods(snap, set)
	plan := replica.Decide(set, pods, nil, l.now())
	reason, applyErr := replica.Apply(ctx, c, set, plan)

	status := replica.Observe(set, replica.Pods(c.Snapshot(), set), l.now())
	if applyErr != nil {
		status.FailureReason, status.FailureMessage = reason, applyErr.Error()
	}
	if err := writeStatus(ctx, c, rc, status, metav1.NewTime(l.now())); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{After: plan.After}, applyErr
}

func writeStatus(ctx context.Context, c *client.Client, rc *corev1.ReplicationController, s replica.Status, now metav1.Time) error {
	want := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeled, ReadyReplicas: s.Ready, AvailableReplicas: s.Available,
		ObservedGeneration: rc.Generation,
		Conditions:         conditions(rc.Status.Conditions, s, now),
	}
	if equality.Semantic.DeepEqual(want, rc.Status) {
		return nil
	}
	_, err := c.Mutate(ctx, rc, "status", func(obj api.Object) error {
		obj.(*corev1.ReplicationController).Status = want
		return nil
	})
	return controller.IgnoreGone(err)
}

func conditions(have []corev1.ReplicationControllerCondition, s replica.Status, now metav1.Time) []corev1.ReplicationControllerCondition {
	i := slices.IndexFunc(have, func(c corev1.ReplicationControllerCondition) bool {
		return c.Type == corev1.ReplicationControllerReplicaFailure
	})
	if s.FailureReason == "" {
		if i < 0 {
			return have
		}
		return slices.Delete(slices.Clone(have), i, i+1)
	}
	if i >= 0 && have[i].Reason == s.FailureReason {
		return have // the first failure stays, so that a loop of them does not write for ever
	}
	out := slices.DeleteFunc(slices.Clone(have), func(c corev1.ReplicationControllerCondition) bool {
		return c.Type == corev1.ReplicationControllerReplicaFailure
	})
	return append(out, corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: now, Reason: s.FailureReason, Message: s.FailureMessage})
}
