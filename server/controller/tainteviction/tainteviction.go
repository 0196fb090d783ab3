// Package tainteviction deletes pods from nodes whose NoExecute taints they do not tolerate, at once or when their
// tolerationSeconds have passed.
package tainteviction

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const nodeIndex = "spec.nodeName"

// New returns the controller; its keys are pods, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now, seen: map[string]time.Time{}}
	return controller.Controller{
		Name: "taint-eviction-controller", ServiceAccount: "node-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &corev1.Node{}, Keys: nodeKeys},
			{Kind: &corev1.Pod{}, Keys: podKeys},
		},
		Reconcile: l.reconcile,
	}
}

func nodeKeys(s client.Snapshot, e *store.Event) (keys []string) {
	node := e.Object.(*corev1.Node)
	if e.Type == store.Deleted || len(noExecute(node)) == 0 {
		return nil // a pod that was waiting looks at its node again when its time comes
	}
	for pod := range client.ByIndex[*corev1.Pod](s, nodeIndex, node.Name) {
		keys = append(keys, pod.Namespace+"/"+pod.Name)
	}
	return keys
}

func podKeys(s client.Snapshot, e *store.Event) []string {
	pod := e.Object.(*corev1.Pod)
	if e.Type == store.Deleted || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil {
		return nil
	}
	node, ok := client.Get[*corev1.Node](s, "", pod.Spec.NodeName)
	if !ok || len(noExecute(node)) == 0 {
		return nil
	}
	return []string{pod.Namespace + "/" + pod.Name}
}

func noExecute(node *corev1.Node) (taints []corev1.Taint) {
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			taints = append(taints, t)
		}
	}
	return taints
}

type loop struct {
	now func() time.Time

	mu sync.Mutex
	// seen is when a pod's key was first found under taints that do not say when they were added.
	seen map[string]time.Time
}

// firstSeen is when this loop first saw the pod under its node's taints; forget begins anew.
func (l *loop) firstSeen(key string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[key]; !ok {
		l.seen[key] = l.now()
	}
	return l.seen[key]
}

func (l *loop) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, key)
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	pod, ok := client.Get[*corev1.Pod](snap, namespace, name)
	if !ok || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		l.forget(key)
		return controller.Result{}, nil
	}
	node, ok := client.Get[*corev1.Node](snap, "", pod.Spec.NodeName)
	if !ok || len(noExecute(node)) == 0 {
		l.forget(key)
		return controller.Result{}, nil
	}
	evict, after := decide(timed(noExecute(node), boundAt(pod), l.firstSeen(key)), pod.Spec.Tolerations, l.now())
	switch {
	case !evict:
		return controller.Result{}, nil
	case after > 0:
		return controller.Result{After: after}, nil
	}
	return controller.Result{}, l.evict(ctx, c, pod)
}

// boundAt is when the pod came to its node.
func boundAt(pod *corev1.Pod) time.Time {
	at := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && c.LastTransitionTime.After(at) {
			at = c.LastTransitionTime.Time
		}
	}
	return at
}

// timed says for each taint since when it has been hurting the pod: not before the pod came; and seen, for a taint without a time.
func timed(taints []corev1.Taint, bound, seen time.Time) []corev1.Taint {
	for i := range taints {
		since := seen
		if t := taints[i].TimeAdded; t != nil {
			since = t.Time
		}
		if since.Before(bound) {
			since = bound
		}
		taints[i].TimeAdded = &metav1.Time{Time: since}
	}
	return taints
}

// decide tells whether a pod has to go, and after how long (0: now). A taint without a time counts from now.
func decide(taints []corev1.Taint, tolerations []corev1.Toleration, now time.Time) (evict bool, after time.Duration) {
	for _, taint := range taints {
		tolerated, seconds := tolerates(taint, tolerations)
		if !tolerated {
			return true, 0
		}
		if seconds == nil {
			continue
		}
		since := now
		if taint.TimeAdded != nil {
			since = taint.TimeAdded.Time
		}
		left := max(0, since.Add(time.Duration(*seconds)*time.Second).Sub(now))
		if !evict || left < after {
			evict, after = true, left
		}
	}
	return evict, after
}

// tolerates finds the shortest of the tolerations that match; seconds is nil for "for ever".
func tolerates(taint corev1.Taint, tolerations []corev1.Toleration) (ok bool, seconds *int64) {
	for _, t := range tolerations {
		if !matches(t, taint) {
			continue
		}
		if t.TolerationSeconds != nil {
			s := max(0, *t.TolerationSeconds)
			if seconds == nil || s < *seconds {
				seconds = &s
			}
		}
		ok = true
	}
	return ok, seconds
}

func matches(t corev1.Toleration, taint corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	}
	return false
}

func (l *loop) evict(ctx context.Context, c *client.Client, pod *corev1.Pod) error {
	_, err := client.Change(ctx, c, pod, "status", func(next *corev1.Pod) {
		want := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(l.now())}
		for i := range next.Status.Conditions {
			if next.Status.Conditions[i].Type == want.Type {
				next.Status.Conditions[i] = want
				return
			}
		}
		next.Status.Conditions = append(next.Status.Conditions, want)
	})
	if err != nil {
		return controller.IgnoreGone(err)
	}
	c.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	return c.DeleteNow(ctx, pod)
}
