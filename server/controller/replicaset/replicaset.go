// Package replicaset keeps the number of pods that a ReplicaSet asks for.
package replicaset

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

var gvk = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// New returns the controller; its keys are ReplicaSets, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "replicaset-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &appsv1.ReplicaSet{}, Keys: replica.OwnKey},
			{Kind: &corev1.Pod{}, Keys: replica.PodKeys("ReplicaSet", func(s client.Snapshot, pod *corev1.Pod) (keys []string) {
				for rs := range client.List[*appsv1.ReplicaSet](s, pod.Namespace) {
					if set, err := setOf(rs); err == nil && replica.Selects(set, pod) {
						keys = append(keys, rs.Namespace+"/"+rs.Name)
					}
				}
				return keys
			})},
		},
		Reconcile: l.reconcile,
	}
}

type loop struct{ now func() time.Time }

func setOf(rs *appsv1.ReplicaSet) (replica.Set, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return replica.Set{}, err
	}
	replicas := 1
	if rs.Spec.Replicas != nil {
		replicas = int(*rs.Spec.Replicas)
	}
	return replica.Set{Object: rs, GVK: gvk, Selector: selector, Replicas: replicas,
		MinReadySeconds: rs.Spec.MinReadySeconds, Template: &rs.Spec.Template}, nil
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	rs, ok := client.Get[*appsv1.ReplicaSet](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	set, err := setOf(rs)
	if err != nil {
		return controller.Result{}, err
	}
	pods := replica.Pods(snap, set)
	plan := replica.Decide(set, pods, related(snap, rs, len(pods) > set.Replicas), l.now())
	reason, applyErr := replica.Apply(ctx, c, set, plan)

	status := replica.Observe(set, replica.Pods(c.Snapshot(), set), l.now())
	if applyErr != nil {
		status.FailureReason, status.FailureMessage = reason, applyErr.Error()
	}
	if err := writeStatus(ctx, c, rs, status, metav1.NewTime(l.now())); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{After: plan.After}, applyErr
}

// related counts the active pods by node of all ReplicaSets with the same controller; only needed when pods are to be deleted.
func related(s client.Snapshot, rs *appsv1.ReplicaSet, needed bool) map[string]int {
	ref := metav1.GetControllerOf(rs)
	if !needed || ref == nil {
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
		Conditions:          conditions(rs.Status.Conditions, s, now),
	}
	if equality.Semantic.DeepEqual(want, rs.Status) {
		return nil
	}
	_, err := c.Mutate(ctx, rs, "status", func(obj api.Object) error {
		obj.(*appsv1.ReplicaSet).Status = want
		return nil
	})
	return controller.IgnoreGone(err)
}

func conditions(have []appsv1.ReplicaSetCondition, s replica.Status, now metav1.Time) []appsv1.ReplicaSetCondition {
	i := slices.IndexFunc(have, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	if s.FailureReason == "" {
		if i < 0 {
			return have
		}
		return slices.Delete(slices.Clone(have), i, i+1)
	}
	if i >= 0 && have[i].Reason == s.FailureReason {
		return have // the first failure stays, so that a loop of them does not write for ever
	}
	out := slices.DeleteFunc(slices.Clone(have), func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	return append(out, appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: now, Reason: s.FailureReason, Message: s.FailureMessage})
}
