package disruption

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// deletionTimeout is how long an evicted pod may take to get its deletion timestamp before the eviction is forgotten.
const deletionTimeout = 2 * time.Minute

// plan is the status to write, and when to look again.
type plan struct {
	status policyv1.PodDisruptionBudgetStatus
	// notDeleted are pods whose eviction is forgotten with this plan.
	notDeleted []*corev1.Pod
	after      time.Duration
}

func (p plan) failed() bool {
	c := meta.FindStatusCondition(p.status.Conditions, policyv1.DisruptionAllowedCondition)
	return c != nil && c.Reason == policyv1.SyncFailedReason
}

func (p plan) String() string {
	var b strings.Builder
	s := p.status
	fmt.Fprintf(&b, "status expected=%d desired=%d healthy=%d allowed=%d observed=%d\n", s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy, s.DisruptionsAllowed, s.ObservedGeneration)
	for _, name := range slices.Sorted(maps.Keys(s.DisruptedPods)) {
		fmt.Fprintf(&b, "disrupted %s\n", name)
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, pod := range p.notDeleted {
		fmt.Fprintf(&b, "not deleted %s\n", pod.Name)
	}
	if p.after > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.after)
	}
	return b.String()
}

// decide is pure. When the number of pods to expect is not known, nothing may be evicted, and everything else stays.
func decide(h have, now metav1.Time) plan {
	desired, count, err := wanted(h)
	if err != nil {
		p := plan{status: *h.pdb.Status.DeepCopy()}
		p.status.DisruptionsAllowed = 0
		setCondition(&p.status, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error(), p.status.ObservedGeneration, now)
		return p
	}
	p := plan{status: policyv1.PodDisruptionBudgetStatus{
		DesiredHealthy: desired, ExpectedPods: count, ObservedGeneration: h.pdb.Generation,
		Conditions: slices.Clone(h.pdb.Status.Conditions),
	}}
	p.disrupted(h, now)
	p.status.CurrentHealthy = healthy(h.pods, p.status.DisruptedPods)
	if count > 0 { // a budget that has no pods yet is safe when the first ones appear
		p.status.DisruptionsAllowed = max(0, p.status.CurrentHealthy-desired)
	}
	allowed, reason := metav1.ConditionFalse, policyv1.InsufficientPodsReason
	if p.status.DisruptionsAllowed > 0 {
		allowed, reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	setCondition(&p.status, allowed, reason, "", h.pdb.Generation, now)
	return p
}

// wanted returns how many pods have to be healthy, of how many.
func wanted(h have) (desired, count int32, err error) {
	spec := h.pdb.Spec
	if needsScale(h.pdb) && h.scaleError != nil {
		return 0, 0, h.scaleError
	}
	switch {
	case spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(h.expected), true)
		return max(0, h.expected-int32(n)), h.expected, err
	case spec.MinAvailable == nil:
		return 0, 0, nil
	case spec.MinAvailable.Type == intstr.Int:
		return spec.MinAvailable.IntVal, int32(len(h.pods)), nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(h.expected), true)
	return int32(n), h.expected, err
}

// disrupted keeps the evictions whose pods are still to be deleted, and drops those that have been waited for long enough.
func (p *plan) disrupted(h have, now metav1.Time) {
	for _, pod := range h.pods {
		at, evicted := h.pdb.Status.DisruptedPods[pod.Name]
		if !evicted || pod.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(deletionTimeout).Sub(now.Time)
		if left <= 0 {
			p.notDeleted = append(p.notDeleted, pod)
			continue
		}
		if p.status.DisruptedPods == nil {
			p.status.DisruptedPods = map[string]metav1.Time{}
		}
		p.status.DisruptedPods[pod.Name] = at
		if p.after == 0 || left < p.after {
			p.after = left
		}
	}
}

func healthy(pods []*corev1.Pod, disrupted map[string]metav1.Time) (n int32) {
	for _, pod := range pods {
		_, evicted := disrupted[pod.Name]
		if _, ready := replica.ReadySince(pod); ready && !evicted && pod.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func setCondition(s *policyv1.PodDisruptionBudgetStatus, status metav1.ConditionStatus, reason, message string, generation int64, now metav1.Time) {
	s.Conditions = slices.Clone(s.Conditions)
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason,
		Message: message, ObservedGeneration: generation, LastTransitionTime: now})
}
