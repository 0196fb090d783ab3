// Package nodelifecycle watches the heartbeats of nodes. A node whose lease has not been renewed for the grace period is
// marked Unknown, its conditions become taints, and its pods are marked as not ready, so that Services leave them out; package
// tainteviction then moves the pods when their tolerations run out.
//
// A heartbeat is a change of the node's Lease as seen by this server's clock; the lease's own times are not compared, since
// clocks differ between machines.
package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	// DefaultGracePeriod is upstream's node-monitor-grace-period.
	DefaultGracePeriod = 50 * time.Second
	nodeIndex          = "spec.nodeName"
)

// New returns the controller; its keys are nodes. grace is how long a node may be silent, 0 for the default.
func New(now func() time.Time, grace time.Duration) controller.Controller {
	if grace == 0 {
		grace = DefaultGracePeriod
	}
	l := &loop{now: now, grace: grace, seen: map[string]heartbeat{}}
	return controller.Controller{
		Name: "node-lifecycle-controller", ServiceAccount: "node-controller",
		Inputs: []controller.Input{
			{Kind: &corev1.Node{}, Keys: nodeKeys},
			{Kind: &coordinationv1.Lease{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Object.GetNamespace() != corev1.NamespaceNodeLease || e.Type == store.Deleted {
					return nil
				}
				return []string{e.Object.GetName()}
			}},
		},
		Reconcile: l.reconcile,
	}
}

// nodeKeys: whether a node may be tainted NoExecute depends on whether any is ready, so the first and the last that is touches all.
func nodeKeys(s client.Snapshot, e *store.Event) []string {
	keys := []string{e.Object.GetName()}
	isReady := e.Type != store.Deleted && ready(e.Object.(*corev1.Node))
	wasReady := e.Old != nil && ready(e.Old.(*corev1.Node)) || e.Type == store.Deleted && ready(e.Object.(*corev1.Node))
	if isReady == wasReady {
		return keys
	}
	for node := range client.List[*corev1.Node](s, "") {
		if !ready(node) && node.Name != keys[0] {
			keys = append(keys, node.Name)
		}
	}
	return keys
}

func ready(node *corev1.Node) bool {
	return statusOf(node.Status.Conditions, corev1.NodeReady) == corev1.ConditionTrue
}

// othersReady tells whether any other node is ready. When none is, the trouble is more likely this server's than theirs.
func othersReady(s client.Snapshot, node *corev1.Node) bool {
	for other := range client.List[*corev1.Node](s, "") {
		if other.Name != node.Name && ready(other) {
			return true
		}
	}
	return false
}

// heartbeat is the newest sign of life of a node: which lease it was, and when this server saw it.
type heartbeat struct {
	lease, status string
	at            time.Time
}

// loop runs with one worker, so seen needs no lock.
type loop struct {
	now   func() time.Time
	grace time.Duration
	seen  map[string]heartbeat
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	snap := c.Snapshot()
	node, ok := client.Get[*corev1.Node](snap, "", key)
	if !ok {
		delete(l.seen, key)
		return controller.Result{}, nil
	}
	lease, _ := client.Get[*coordinationv1.Lease](snap, corev1.NamespaceNodeLease, key)
	age := l.age(node, lease)
	plan := decide(node, age >= l.grace, othersReady(snap, node), metav1.NewTime(l.now()))
	err := apply(ctx, c, snap, node, plan, metav1.NewTime(l.now()))
	if err != nil {
		return controller.Result{}, fmt.Errorf("node %s: %w", key, err)
	}
	if age < l.grace {
		return controller.Result{After: l.grace - age}, nil
	}
	return controller.Result{}, nil
}

// age is how long ago the node gave a sign of life.
func (l *loop) age(node *corev1.Node, lease *coordinationv1.Lease) time.Duration {
	now, last := l.now(), l.seen[node.Name]
	next := heartbeat{status: lastHeartbeat(node), at: last.at}
	if lease != nil {
		next.lease = lease.ResourceVersion
	}
	if last.at.IsZero() || next.lease != last.lease || next.status != last.status {
		next.at = now
	}
	l.seen[node.Name] = next
	return now.Sub(next.at)
}

func lastHeartbeat(node *corev1.Node) string {
	if c := condition(node, corev1.NodeReady); c != nil {
		return c.LastHeartbeatTime.String()
	}
	return ""
}

func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

func apply(ctx context.Context, c *client.Client, snap client.Snapshot, node *corev1.Node, p plan, now metav1.Time) error {
	var errs []error
	if p.podsNotReady { // first: when it fails, the node's own state still says that it is to be done
		for pod := range client.ByIndex[*corev1.Pod](snap, nodeIndex, node.Name) {
			errs = append(errs, markNotReady(ctx, c, pod, now))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if p.conditions != nil {
		_, err := c.Mutate(ctx, node, "status", func(obj api.Object) error {
			obj.(*corev1.Node).Status.Conditions = p.conditions
			return nil
		})
		errs = append(errs, controller.IgnoreGone(err))
	}
	if p.taints != nil {
		_, err := c.Mutate(ctx, node, "", func(obj api.Object) error {
			next := obj.(*corev1.Node)
			next.Spec.Taints = mergeTaints(next.Spec.Taints, *p.taints)
			return nil
		})
		errs = append(errs, controller.IgnoreGone(err))
	}
	return errors.Join(errs...)
}

// markNotReady makes a pod of a dead node not ready; the kubelet says so again, or not, when it is back.
func markNotReady(ctx context.Context, c *client.Client, pod *corev1.Pod, now metav1.Time) error {
	ready := func(p *corev1.Pod) *corev1.PodCondition {
		for i := range p.Status.Conditions {
			if p.Status.Conditions[i].Type == corev1.PodReady {
				return &p.Status.Conditions[i]
			}
		}
		return nil
	}
	if r := ready(pod); r == nil || r.Status != corev1.ConditionTrue {
		return nil
	}
	_, err := client.Change(ctx, c, pod, "status", func(next *corev1.Pod) {
		if r := ready(next); r != nil && r.Status == corev1.ConditionTrue {
			r.Status, r.LastTransitionTime = corev1.ConditionFalse, now
			r.Reason, r.Message = "NodeNotReady", "Node is not ready"
		}
	})
	return controller.IgnoreGone(err)
}

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
