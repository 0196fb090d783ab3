// Package podgc removes pods that no kubelet will ever remove: bound to a node that does not exist, being deleted without
// ever having been bound, being deleted on a node that is declared out of service, or finished long ago when there are too many
// of these.
package podgc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	// quarantine is how long a node has to be missing before its pods are taken for lost.
	quarantine = 40 * time.Second
	// DefaultTerminatedThreshold is how many finished pods may stay, upstream's default.
	DefaultTerminatedThreshold = 12_500
	nodeIndex                  = "spec.nodeName"
	terminatedKey              = "|terminated"
)

// New returns the controller; its keys are the names of nodes that have gone, "namespace/name" of pods, and terminatedKey.
// threshold is how many finished pods stay; 0 or less for all of them.
func New(now func() time.Time, threshold int) controller.Controller {
	l := &loop{now: now, threshold: threshold, missing: map[string]time.Time{}}
	return controller.Controller{
		Name: "pod-garbage-collector",
		Inputs: []controller.Input{
			{Kind: &corev1.Node{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				node := e.Object.(*corev1.Node)
				if e.Type == store.Modified && !outOfService(node) {
					return nil
				}
				return []string{node.Name}
			}},
			{Kind: &corev1.Pod{}, Keys: l.podKeys},
		},
		Reconcile: l.reconcile,
	}
}

func (l *loop) podKeys(s client.Snapshot, e *store.Event) []string {
	pod := e.Object.(*corev1.Pod)
	var keys []string
	if e.Type == store.Deleted {
		return nil
	}
	if pod.Spec.NodeName == "" && pod.DeletionTimestamp != nil {
		keys = append(keys, pod.Namespace+"/"+pod.Name)
	}
	if pod.Spec.NodeName != "" {
		node, ok := client.Get[*corev1.Node](s, "", pod.Spec.NodeName)
		bound := e.Old == nil || e.Old.(*corev1.Pod).Spec.NodeName == ""
		if !ok && bound || ok && pod.DeletionTimestamp != nil && outOfService(node) {
			keys = append(keys, pod.Spec.NodeName)
		}
	}
	if l.threshold > 0 && finished(pod) && s.Count(s.Catalogue().ByObject(pod), "") > l.threshold {
		keys = append(keys, terminatedKey)
	}
	return keys
}

// outOfService tells whether somebody has said, by a taint, that a node which is not ready will not come back with its pods.
func outOfService(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// loop runs with one worker, so missing needs no lock.
type loop struct {
	now       func() time.Time
	threshold int
	missing   map[string]time.Time
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	snap := c.Snapshot()
	switch {
	case key == terminatedKey:
		return controller.Result{}, remove(ctx, c, decideTerminated(slices.Collect(client.List[*corev1.Pod](snap, "")), l.threshold), "", metav1.Time{})
	case strings.Contains(key, "/"):
		return controller.Result{}, l.unscheduled(ctx, c, snap, key)
	}
	if node, ok := client.Get[*corev1.Node](snap, "", key); ok {
		delete(l.missing, key)
		if !outOfService(node) {
			return controller.Result{}, nil
		}
		pods := slices.Collect(client.ByIndex[*corev1.Pod](snap, nodeIndex, key))
		pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp == nil })
		return controller.Result{}, remove(ctx, c, pods, "PodGC: node is out of service", metav1.NewTime(l.now()))
	}
	since, known := l.missing[key]
	if !known {
		since = l.now()
		l.missing[key] = since
	}
	if wait := quarantine - l.now().Sub(since); wait > 0 {
		return controller.Result{After: wait}, nil
	}
	err := remove(ctx, c, slices.Collect(client.ByIndex[*corev1.Pod](snap, nodeIndex, key)), "PodGC: node no longer exists", metav1.NewTime(l.now()))
	if err == nil {
		delete(l.missing, key)
	}
	return controller.Result{}, err
}

func (l *loop) unscheduled(ctx context.Context, c *client.Client, snap client.Snapshot, key string) error {
	namespace, name, _ := strings.Cut(key, "/")
	pod, ok := client.Get[*corev1.Pod](snap, namespace, name)
	if !ok || pod.Spec.NodeName != "" || pod.DeletionTimestamp == nil {
		return nil
	}
	if !finished(pod) { // whoever holds it by a finalizer should know that it will never run
		failed := func(next *corev1.Pod) { next.Status.Phase = corev1.PodFailed }
		if _, err := client.Change(ctx, c, pod, "status", failed); controller.IgnoreGone(err) != nil {
			return fmt.Errorf("mark pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return remove(ctx, c, []*corev1.Pod{pod}, "", metav1.Time{})
}

// decideTerminated returns the finished pods to remove so that at most threshold stay: evicted ones first, then the oldest.
func decideTerminated(pods []*corev1.Pod, threshold int) []*corev1.Pod {
	pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return !finished(p) })
	if len(pods) <= threshold {
		return nil
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if evicted(a) != evicted(b) {
			return map[bool]int{true: -1, false: 1}[evicted(a)]
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods[:len(pods)-threshold]
}

func evicted(pod *corev1.Pod) bool { return pod.Status.Reason == "Evicted" }

// remove deletes pods at once; because, when given, is told in a DisruptionTarget condition and the pod is marked failed first.
func remove(ctx context.Context, c *client.Client, pods []*corev1.Pod, because string, now metav1.Time) error {
	var errs []error
	for _, pod := range pods {
		if because != "" && !finished(pod) {
			lost := func(next *corev1.Pod) { markLost(next, because, now) }
			if _, err := client.Change(ctx, c, pod, "status", lost); controller.IgnoreGone(err) != nil {
				errs = append(errs, fmt.Errorf("mark pod %s/%s: %w", pod.Namespace, pod.Name, err))
				continue
			}
		}
		zero, uid := int64(0), pod.UID
		err := c.Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &uid}})
		errs = append(errs, controller.IgnoreGone(err))
	}
	return errors.Join(errs...)
}

func markLost(pod *corev1.Pod, because string, now metav1.Time) {
	pod.Status.Phase = corev1.PodFailed
	condition := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: because, LastTransitionTime: now}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == condition.Type {
			pod.Status.Conditions[i] = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}
