// Package disruption says in each PodDisruptionBudget's status how many of its pods may be evicted now, and takes the DisruptionTarget
// condition back from pods that were to be disrupted and were not.
//
//	observe   the budget, the pods that it selects, and the scale of what controls them: from one snapshot
//	decide    pure: the status, and when an eviction that did not happen is forgotten (decide.go)
//	apply     one write of the status, only over the budget that was read: an eviction that came between counts
//
// It never deletes a pod. The eviction subresource spends what the status allows.
package disruption

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/store"
)

const account = "disruption-controller"

// New returns the controller of budgets; its keys are PodDisruptionBudgets, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    account,
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &policyv1.PodDisruptionBudget{}, Keys: replica.OwnKey},
			{Kind: &corev1.Pod{}, Keys: podKeys},
		},
		Reconcile: l.reconcile,
	}
}

// podKeys are the budgets that select a pod, or did before.
func podKeys(s client.Snapshot, e *store.Event) (keys []string) {
	pod := e.Object.(*corev1.Pod)
	var old *corev1.Pod
	if e.Old != nil {
		old = e.Old.(*corev1.Pod)
		if e.Type == store.Modified && same(pod, old) {
			return nil
		}
	}
	for pdb := range client.List[*policyv1.PodDisruptionBudget](s, pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err == nil && (selector.Matches(labels.Set(pod.Labels)) || old != nil && selector.Matches(labels.Set(old.Labels))) {
			keys = append(keys, pdb.Namespace+"/"+pdb.Name)
		}
	}
	return keys
}

// same tells whether nothing that a budget counts has changed.
func same(a, b *corev1.Pod) bool {
	_, readyA := replica.ReadySince(a)
	_, readyB := replica.ReadySince(b)
	refA, refB := metav1.GetControllerOf(a), metav1.GetControllerOf(b)
	return readyA == readyB && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && labels.Equals(a.Labels, b.Labels) &&
		(refA == nil) == (refB == nil) && (refA == nil || refA.UID == refB.UID)
}

type loop struct{ now func() time.Time }

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	pdb, ok := client.Get[*policyv1.PodDisruptionBudget](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	h, err := observe(snap, pdb)
	if err != nil {
		return controller.Result{}, err
	}
	p := decide(h, metav1.NewTime(l.now()))
	if equality.Semantic.DeepEqual(p.status, pdb.Status) {
		return controller.Result{After: p.after}, nil
	}
	l.tell(c, h, p)
	next := pdb.DeepCopy()
	next.Status = p.status
	if _, err := c.UpdateStatus(ctx, next); controller.IgnoreGone(err) != nil {
		return controller.Result{}, fmt.Errorf("pod disruption budget %s: write the status: %w", key, err)
	} else if err != nil { // somebody wrote it since: its event wakes us
		return controller.Result{}, nil
	}
	return controller.Result{After: p.after}, nil
}

func (l *loop) tell(c *client.Client, h have, p plan) {
	for _, pod := range p.notDeleted {
		c.Event(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", h.pdb.Namespace, h.pdb.Name)
	}
	if h.scaleError != nil && p.failed() {
		c.Event(h.pdb, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", h.scaleError)
	}
	if len(h.pods) == 0 {
		c.Event(h.pdb, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if len(h.unmanaged) > 0 && needsScale(h.pdb) {
		c.Event(h.pdb, corev1.EventTypeWarning, "UnmanagedPods", "Some pods of this PodDisruptionBudget (%s) have no controller, so its status cannot be "+
			"calculated correctly; to account for them, set \".spec.minAvailable\" to an integer", strings.Join(h.unmanaged, ", "))
	}
}

// have is a budget and what it is about.
type have struct {
	pdb  *policyv1.PodDisruptionBudget
	pods []*corev1.Pod
	// expected is the sum of the scales of what controls the pods; unmanaged are the pods that nothing controls.
	expected   int32
	unmanaged  []string
	scaleError error
}

func observe(s client.Snapshot, pdb *policyv1.PodDisruptionBudget) (have, error) {
	h := have{pdb: pdb}
	selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector) // none selects nothing, an empty one all pods
	if err != nil {
		return h, fmt.Errorf("pod disruption budget %s/%s: selector: %w", pdb.Namespace, pdb.Name, err)
	}
	for pod := range client.List[*corev1.Pod](s, pdb.Namespace) {
		if selector.Matches(labels.Set(pod.Labels)) {
			h.pods = append(h.pods, pod)
		}
	}
	if needsScale(pdb) {
		h.expected, h.unmanaged, h.scaleError = expected(s, h.pods)
	}
	return h, nil
}
