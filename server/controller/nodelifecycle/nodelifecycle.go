// Package nodelifecycle watches the heartbeats of nodes. A node whose lease has not been renewed for the grace period is
// marked Unknown, its conditions become taints, and its pods are marked as not ready, so that Services leave them out; package
// tainteviction then moves the pods when their tolerations run out.
//
// How many nodes lose their pods is bounded zone by zone (zones.go): the more of a zone is not ready, the likelier it is a
// switch that has failed and not the nodes.
//
// A heartbeat is a change of the node's Lease as seen by this server's clock; the lease's own times are not compared, since
// clocks differ between machines.
package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// DefaultGracePeriod is upstream's node-monitor-grace-period, DefaultStartupGracePeriod its node-startup-grace-period.
	DefaultGracePeriod        = 50 * time.Second
	DefaultStartupGracePeriod = time.Minute
	nodeIndex                 = "spec.nodeName"
)

// Config of the controller.
type Config struct {
	Now func() time.Time
	// GracePeriod is how long a node may be silent, StartupGracePeriod the same for one that has never said anything;
	// 0 for the defaults.
	GracePeriod, StartupGracePeriod time.Duration
	// Eviction bounds how many nodes lose their pods; nil for DefaultEviction.
	Eviction *Eviction
}

// New returns the controller; its keys are nodes.
func New(c Config) controller.Controller {
	if c.GracePeriod == 0 {
		c.GracePeriod = DefaultGracePeriod
	}
	if c.StartupGracePeriod == 0 {
		c.StartupGracePeriod = DefaultStartupGracePeriod
	}
	if c.Eviction == nil {
		c.Eviction = &DefaultEviction
	}
	l := &loop{now: c.Now, grace: c.GracePeriod, startup: c.StartupGracePeriod, eviction: *c.Eviction, seen: map[string]heartbeat{}, limiter: limiter{}}
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

// nodeKeys: whether a node may be tainted NoExecute depends on how many of the others are ready, so what changes the count
// touches all that are not.
func nodeKeys(s client.Snapshot, e *store.Event) []string {
	keys := []string{e.Object.GetName()}
	if counted(e) {
		for node := range client.List[*corev1.Node](s, "") {
			if !ready(node) && node.Name != keys[0] {
				keys = append(keys, node.Name)
			}
		}
	}
	return keys
}

// counted tells whether an event changes how many nodes of which zone are ready.
func counted(e *store.Event) bool {
	if e.Type != store.Modified || e.Old == nil {
		return true
	}
	node, old := e.Object.(*corev1.Node), e.Old.(*corev1.Node)
	return ready(node) != ready(old) || zoneOf(node) != zoneOf(old) || excluded(node) != excluded(old)
}

func ready(node *corev1.Node) bool {
	return statusOf(node.Status.Conditions, corev1.NodeReady) == corev1.ConditionTrue
}

// heartbeat is the newest sign of life of a node: which lease it was, and when this server saw it.
type heartbeat struct {
	lease, status string
	at            time.Time
}

// loop runs with one worker, so seen, limiter and wereDown need no lock.
type loop struct {
	now            func() time.Time
	grace, startup time.Duration
	eviction       Eviction
	seen           map[string]heartbeat
	limiter        limiter
	wereDown       bool // all zones were, when last looked at
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	snap := c.Snapshot()
	node, ok := client.Get[*corev1.Node](snap, "", key)
	if !ok {
		delete(l.seen, key)
		return controller.Result{}, nil
	}
	lease, _ := client.Get[*coordinationv1.Lease](snap, corev1.NamespaceNodeLease, key)
	age, grace := l.age(node, lease), l.graceOf(node)
	evict, wait := allowed, time.Duration(0)
	if age >= grace || !ready(node) {
		evict, wait = l.permission(snap, node)
	}
	now := l.now()
	plan := decide(node, age >= grace, evict, metav1.NewTime(now))
	if plan.evicts {
		l.limiter.take(zoneOf(node), now)
	}
	if err := apply(ctx, c, snap, node, plan, metav1.NewTime(now)); err != nil {
		return controller.Result{}, fmt.Errorf("node %s: %w", key, err)
	}
	result := controller.Result{}
	if plan.waits {
		result.After = wait
	}
	if left := grace - age; left > 0 && (result.After == 0 || left < result.After) {
		result.After = left
	}
	return result, nil
}

// graceOf is how long a node may be silent.
func (l *loop) graceOf(node *corev1.Node) time.Duration {
	if condition(node, corev1.NodeReady) == nil {
		return l.startup
	}
	return l.grace
}

// permission says whether a node that is not ready may lose its pods, and when to ask again; 0 when a change of the zone tells.
func (l *loop) permission(snap client.Snapshot, node *corev1.Node) (permission, time.Duration) {
	now := l.now()
	silent := func(n *corev1.Node) bool {
		seen, known := l.seen[n.Name]
		return known && now.Sub(seen.at) >= l.graceOf(n)
	}
	zones := countNodes(slices.Collect(client.List[*corev1.Node](snap, "")), silent)
	down := l.eviction.allDown(zones)
	if l.wereDown && !down { // the others are back in a moment: no node is the first to pay for that
		for z := range zones {
			l.limiter.take(z, now)
		}
	}
	l.wereDown = down
	if down {
		return withdrawn, 0
	}
	wait, ok := l.limiter.wait(zoneOf(node), l.eviction.rate(zones[zoneOf(node)]), now)
	if ok && wait == 0 {
		return allowed, 0
	}
	return held, wait
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
