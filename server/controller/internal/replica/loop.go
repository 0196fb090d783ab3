package replica

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// Kind is what ReplicaSets and ReplicationControllers differ in.
type Kind[T api.Object] struct {
	// Controller is its name and service account.
	Controller string
	GVK        schema.GroupVersionKind
	// Example is an empty object of the kind.
	Example T
	// Set reads one. Its Object and GVK need not be set.
	Set func(T) (Set, error)
	// Related counts, by node, the active pods of the sets that stand beside one; nil when there is no such thing.
	Related func(client.Snapshot, T) map[string]int
	// WriteStatus writes the status if it differs from the object's.
	WriteStatus func(ctx context.Context, c *client.Client, obj T, s Status, now metav1.Time) error
}

// New returns the controller of a kind; its keys are "namespace/name".
func New[T api.Object](k Kind[T], now func() time.Time) controller.Controller {
	l := &loop[T]{Kind: k, now: now}
	return controller.Controller{
		Name:    k.Controller,
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: k.Example, Keys: OwnKey},
			{Kind: &corev1.Pod{}, Keys: PodKeys(k.GVK.Kind, l.selecting)},
		},
		Reconcile: l.reconcile,
	}
}

type loop[T api.Object] struct {
	Kind[T]
	now func() time.Time
}

func (l *loop[T]) set(obj T) (Set, error) {
	set, err := l.Set(obj)
	set.Object, set.GVK = obj, l.GVK
	return set, err
}

// selecting are the sets that select a pod without controller.
func (l *loop[T]) selecting(s client.Snapshot, pod *corev1.Pod) (keys []string) {
	for obj := range client.List[T](s, pod.Namespace) {
		if set, err := l.set(obj); err == nil && Selects(set, pod) {
			keys = append(keys, obj.GetNamespace()+"/"+obj.GetName())
		}
	}
	return keys
}

func (l *loop[T]) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	obj, ok := client.Get[T](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	set, err := l.set(obj)
	if err != nil {
		return controller.Result{}, err
	}
	pods := Pods(snap, set)
	var related map[string]int
	if l.Related != nil && len(pods) > set.Replicas {
		related = l.Related(snap, obj)
	}
	plan := Decide(set, pods, related, l.now())
	reason, applyErr := Apply(ctx, c, set, plan)

	status := Observe(set, Pods(c.Snapshot(), set), l.now())
	if applyErr != nil {
		status.FailureReason, status.FailureMessage = reason, applyErr.Error()
	}
	if err := l.WriteStatus(ctx, c, obj, status, metav1.NewTime(l.now())); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{After: plan.After}, applyErr
}

// Conditions are the conditions of a set after s: that pods could not be made or deleted is told in one of the kind's own type C, which
// about reads (is it this one, and with what reason) and failure makes.
func Conditions[C any](have []C, s Status, about func(C) (failure bool, reason string), failure func() C) []C {
	i := slices.IndexFunc(have, func(c C) bool { is, _ := about(c); return is })
	switch {
	case s.FailureReason == "" && i < 0:
		return have
	case s.FailureReason == "":
		return slices.Delete(slices.Clone(have), i, i+1)
	case i < 0:
		return append(slices.Clone(have), failure())
	}
	if _, reason := about(have[i]); reason == s.FailureReason {
		return have // the first failure stays, so that a loop of them does not write for ever
	}
	return append(slices.Delete(slices.Clone(have), i, i+1), failure())
}
