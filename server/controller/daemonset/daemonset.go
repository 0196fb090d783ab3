// Package daemonset keeps one pod of a DaemonSet on every node that its template can run on.
//
//	observe   the DaemonSet, the nodes, its pods by the node each is for, its history: from one snapshot
//	decide    pure: what to adopt and release, the revision of the template, which pods to make and delete (decide.go, rolling.go)
//	apply     in that order; then the status of what there is now (status.go)
//
// A pod names its node by affinity and is bound by the scheduler, so that taints, ports and resources are looked at as for any pod.
// What a template fits is decided in fit.go. Failed pods are replaced with a back-off that lives in memory only.
package daemonset

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/claim"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
	"codeberg.org/skiff/skiff/server/store"
)

var gvk = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// New returns the controller; its keys are DaemonSets, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now, failures: map[place]failure{}}
	return controller.Controller{
		Name: "daemonset-controller", ServiceAccount: "daemon-set-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &appsv1.DaemonSet{}, Keys: replica.OwnKey},
			{Kind: &corev1.Pod{}, Keys: replica.PodKeys(gvk.Kind, selecting)},
			{Kind: &appsv1.ControllerRevision{}, Keys: revision.Keys(gvk.Kind)},
			{Kind: &corev1.Node{}, Keys: nodeKeys},
		},
		Reconcile: l.reconcile,
	}
}

// selecting are the DaemonSets that select a pod without controller.
func selecting(s client.Snapshot, pod *corev1.Pod) (keys []string) {
	for ds := range client.List[*appsv1.DaemonSet](s, pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, ds.Namespace+"/"+ds.Name)
		}
	}
	return keys
}

// nodeKeys are the DaemonSets for which a node's change means something.
func nodeKeys(s client.Snapshot, e *store.Event) (keys []string) {
	node := e.Object.(*corev1.Node)
	var old *corev1.Node
	if e.Old != nil && e.Type == store.Modified {
		if old = e.Old.(*corev1.Node); labels.Equals(old.Labels, node.Labels) && equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) {
			return nil
		}
	}
	for ds := range client.List[*appsv1.DaemonSet](s, "") {
		f := fitOf(ds)
		run, stay := f.on(node)
		if old != nil {
			ran, stayed := f.on(old)
			if ran == run && stayed == stay {
				continue
			}
		} else if !run && !stay {
			continue
		}
		keys = append(keys, ds.Namespace+"/"+ds.Name)
	}
	return keys
}

type loop struct {
	now func() time.Time

	mu       sync.Mutex
	failures map[place]failure
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	ds, ok := client.Get[*appsv1.DaemonSet](snap, namespace, name)
	if !ok || ds.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	h, err := observe(snap, ds)
	if err != nil {
		return controller.Result{}, err
	}
	h.backoff = func(node string) time.Duration { return l.wait(ds, node) }
	p, err := decide(h, l.now())
	if err != nil {
		return controller.Result{}, err
	}
	again, applyErr := l.apply(ctx, c, h, p)
	if again {
		return controller.Result{}, applyErr // the events of what was written bring us back
	}

	// What there is now. Another's write in between brings us back.
	now, ok := client.Get[*appsv1.DaemonSet](c.Snapshot(), namespace, name)
	if !ok || now.UID != ds.UID {
		return controller.Result{}, applyErr
	}
	if h, err = observe(c.Snapshot(), now); err != nil {
		return controller.Result{}, err
	}
	status, available := statusOf(h, p.hash(), ds.Generation, l.now())
	if err := writeStatus(ctx, c, now, status); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{After: soonest(p.after, available)}, applyErr
}

// soonest of two waits, of which 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// have is a DaemonSet with the nodes and its pods.
type have struct {
	ds        *appsv1.DaemonSet
	nodes     []*corev1.Node
	pods      claim.Claims[*corev1.Pod]
	revisions claim.Claims[*appsv1.ControllerRevision]
	// byNode are its own pods by the node that each is for, the oldest first; without those that have ended and are being deleted.
	byNode map[string][]*corev1.Pod
	// backoff is how long a failed pod of a node has still to stay.
	backoff func(node string) time.Duration
}

func observe(s client.Snapshot, ds *appsv1.DaemonSet) (have, error) {
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return have{}, fmt.Errorf("daemon set %s/%s: %w", ds.Namespace, ds.Name, err)
	}
	h := have{
		ds:        ds,
		pods:      claim.Of(ds, selector, client.List[*corev1.Pod](s, ds.Namespace)),
		revisions: claim.Of(ds, selector, client.List[*appsv1.ControllerRevision](s, ds.Namespace)),
	}
	for node := range client.List[*corev1.Node](s, "") {
		h.nodes = append(h.nodes, node)
	}
	h.sort()
	return h, nil
}

func (h *have) sort() {
	h.byNode = map[string][]*corev1.Pod{}
	for _, pod := range h.pods.Own {
		ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		if node := targetOf(pod); node != "" && !(ended && pod.DeletionTimestamp != nil) {
			h.byNode[node] = append(h.byNode[node], pod)
		}
	}
	for _, pods := range h.byNode {
		slices.SortStableFunc(pods, older)
	}
}
