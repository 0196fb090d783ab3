package daemonset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

// plan is what to do. When there is something to claim, nothing else is decided: the next look sees what is whose.
type plan struct {
	claim    bool
	revision revision.Plan
	// relabel are pods of a double of the current revision.
	relabel []*corev1.Pod
	remove  []*corev1.Pod
	create  []string // nodes
	// drop are revisions beyond the history limit.
	drop []*appsv1.ControllerRevision
	// ended are those of remove that failed or succeeded by themselves.
	ended []*corev1.Pod
	after time.Duration
}

// hash is the label of the pods of the current template.
func (p plan) hash() string {
	if p.revision.Current == nil {
		return ""
	}
	return p.revision.Current.Labels[hashLabel]
}

func (p plan) String() string {
	var b strings.Builder
	if p.claim {
		b.WriteString("claim\n")
	}
	b.WriteString(p.revision.String())
	for _, pod := range p.relabel {
		fmt.Fprintf(&b, "relabel %s\n", pod.Name)
	}
	for _, pod := range p.remove {
		fmt.Fprintf(&b, "delete %s\n", pod.Name)
	}
	for _, node := range p.create {
		fmt.Fprintf(&b, "create on %s\n", node)
	}
	for _, r := range p.drop {
		fmt.Fprintf(&b, "drop revision %s\n", r.Name)
	}
	if p.after > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.after)
	}
	return b.String()
}

// decide is pure.
func decide(h have, now time.Time) (p plan, err error) {
	if !h.pods.Settled() || !h.revisions.Settled() {
		return plan{claim: true}, nil
	}
	p.revision, err = revision.Decide(parentOf(h.ds), h.revisions.Own)
	if err != nil {
		return p, err
	}
	for _, double := range p.revision.Doubles {
		for _, pod := range h.pods.Own {
			if pod.Labels[hashLabel] == double.Labels[hashLabel] {
				p.relabel = append(p.relabel, pod)
			}
		}
	}
	f := fitOf(h.ds)
	known := map[string]bool{}
	for _, node := range h.nodes {
		known[node.Name] = true
		p.manage(h, f, node, now)
	}
	p.homeless(h, known)
	if len(p.create)+len(p.remove) == 0 && h.ds.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if err := p.roll(h, f, now); err != nil {
			return p, err
		}
	}
	p.history(h)
	return p, nil
}

// homeless pods are meant for a node that has gone, and were not bound to it: nobody else will delete them.
func (p *plan) homeless(h have, known map[string]bool) {
	for _, pod := range h.pods.Own {
		if node := targetOf(pod); pod.Spec.NodeName == "" && node != "" && !known[node] && pod.DeletionTimestamp == nil {
			p.remove = append(p.remove, pod)
		}
	}
}

// manage sees to it that there is one pod on a node, or two while it is replaced with a surge, or none.
func (p *plan) manage(h have, f fit, node *corev1.Node, now time.Time) {
	pods := h.byNode[node.Name]
	run, stay := f.on(node)
	switch {
	case run && len(pods) == 0:
		p.create = append(p.create, node.Name)
	case stay:
		alive := p.weed(h, node.Name, pods)
		if surges(h.ds) {
			p.pair(h, node.Name, alive, run, now)
		} else if len(alive) > 1 {
			p.remove = append(p.remove, alive[1:]...)
		}
	default:
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil {
				p.remove = append(p.remove, pod)
			}
		}
	}
}

// weed deletes the pods that have ended, failed ones not too often, and returns the others that stay.
func (p *plan) weed(h have, node string, pods []*corev1.Pod) (alive []*corev1.Pod) {
	for _, pod := range pods {
		switch {
		case pod.DeletionTimestamp != nil:
		case pod.Status.Phase == corev1.PodFailed:
			if wait := h.backoff(node); wait > 0 {
				p.after = soonest(p.after, wait)
				continue
			}
			p.remove, p.ended = append(p.remove, pod), append(p.ended, pod)
		case pod.Status.Phase == corev1.PodSucceeded:
			p.remove, p.ended = append(p.remove, pod), append(p.ended, pod)
		default:
			alive = append(alive, pod)
		}
	}
	return alive
}

// pair keeps at most one pod of the current template and one other on a node; the other goes when it is not ready any more, or when
// the first has become available.
func (p *plan) pair(h have, node string, alive []*corev1.Pod, run bool, now time.Time) {
	if len(alive) == 0 && run {
		p.create = append(p.create, node)
	}
	if len(alive) <= 1 {
		return
	}
	var current, other *corev1.Pod
	for _, pod := range alive {
		switch mine := pod.Labels[hashLabel] == p.hash(); {
		case mine && current == nil:
			current = pod
		case !mine && other == nil:
			other = pod
		default:
			p.remove = append(p.remove, pod)
		}
	}
	if current == nil || other == nil {
		return
	}
	if _, ready := replica.ReadySince(other); !ready || replica.AvailableIn(current, h.ds.Spec.MinReadySeconds, now) == 0 {
		p.remove = append(p.remove, other)
	}
}

// history drops old revisions that no pod is of.
func (p *plan) history(h have) {
	limit := int32(10)
	if h.ds.Spec.RevisionHistoryLimit != nil {
		limit = *h.ds.Spec.RevisionHistoryLimit
	}
	live := map[string]bool{}
	for _, pod := range h.pods.Own {
		live[pod.Labels[hashLabel]] = true
	}
	p.drop = revision.Truncate(p.revision.Old, limit, func(r *appsv1.ControllerRevision) bool { return live[r.Labels[hashLabel]] })
}

// older puts pods that are bound first, then the older ones.
func older(a, b *corev1.Pod) int {
	if (a.Spec.NodeName != "") != (b.Spec.NodeName != "") {
		if a.Spec.NodeName != "" {
			return -1
		}
		return 1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

func active(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
}
