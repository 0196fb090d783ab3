package disruption

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// staleAfter is how long a pod may be marked for disruption without being deleted.
const staleAfter = 2 * time.Minute

// NewStale returns the controller that takes back DisruptionTarget from pods that nobody deleted; its keys are pods, "namespace/name".
func NewStale(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "stale-disruption-controller", ServiceAccount: account,
		Inputs: []controller.Input{{Kind: &corev1.Pod{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if pod := e.Object.(*corev1.Pod); e.Type != store.Deleted && target(pod) != nil {
				return []string{pod.Namespace + "/" + pod.Name}
			}
			return nil
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			namespace, name, _ := strings.Cut(key, "/")
			pod, ok := client.Get[*corev1.Pod](c.Snapshot(), namespace, name)
			if !ok || target(pod) == nil {
				return controller.Result{}, nil
			}
			if left := target(pod).LastTransitionTime.Add(staleAfter).Sub(now()); left > 0 {
				return controller.Result{After: left}, nil
			}
			if err := takeBack(ctx, c, pod, metav1.NewTime(now())); err != nil {
				return controller.Result{}, fmt.Errorf("pod %s: take DisruptionTarget back: %w", key, err)
			}
			return controller.Result{}, nil
		},
	}
}

// target is the condition that may become stale; nil if there is none. The kubelet's own lasts as long as the kubelet takes.
func target(pod *corev1.Pod) *corev1.PodCondition {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet {
			return c
		}
	}
	return nil
}

func takeBack(ctx context.Context, c *client.Client, pod *corev1.Pod, now metav1.Time) error {
	_, err := client.Change(ctx, c, pod, "status", func(next *corev1.Pod) {
		if condition := target(next); condition != nil {
			*condition = corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
				ObservedGeneration: condition.ObservedGeneration, LastProbeTime: condition.LastProbeTime, LastTransitionTime: now}
		}
	})
	return controller.IgnoreGone(err)
}
