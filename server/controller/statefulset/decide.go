package statefulset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

// plan is what to do, in the order of the fields. When there is something to claim, nothing else is decided.
type plan struct {
	claim    bool
	revision revision.Plan
	// current is the revision that the rollout comes from, update the one that it goes to.
	current, update *appsv1.ControllerRevision
	owners          []ownerChange
	claims          []*corev1.PersistentVolumeClaim // of pods that exist
	create          []newPod
	identify        []*corev1.Pod // their labels are not theirs any more
	remove          []*corev1.Pod
	drop            []*appsv1.ControllerRevision
	after           time.Duration
}

// newPod is made after its claims.
type newPod struct {
	pod    *corev1.Pod
	claims []*corev1.PersistentVolumeClaim
}

type ownerChange struct {
	claim *corev1.PersistentVolumeClaim
	refs  []metav1.OwnerReference
}

func (p plan) String() string {
	var b strings.Builder
	if p.claim {
		b.WriteString("claim\n")
	}
	b.WriteString(p.revision.String())
	for _, o := range p.owners {
		names := []string{}
		for _, r := range o.refs {
			names = append(names, r.Kind+"/"+r.Name)
		}
		fmt.Fprintf(&b, "claim %s owners [%s]\n", o.claim.Name, strings.Join(names, " "))
	}
	for _, c := range p.claims {
		fmt.Fprintf(&b, "create claim %s\n", c.Name)
	}
	for _, n := range p.create {
		for _, c := range n.claims {
			fmt.Fprintf(&b, "create claim %s\n", c.Name)
		}
		which := "update"
		if n.pod.Labels[revisionLabel] != p.update.Name {
			which = "current"
		}
		fmt.Fprintf(&b, "create %s of the %s revision\n", n.pod.Name, which)
	}
	for _, pod := range p.identify {
		fmt.Fprintf(&b, "identify %s\n", pod.Name)
	}
	for _, pod := range p.remove {
		fmt.Fprintf(&b, "delete %s\n", pod.Name)
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
	if p.revision, err = revision.Decide(parentOf(h.set), h.revisions.Own); err != nil {
		return p, err
	}
	p.revision.Old, p.revision.Doubles = append(p.revision.Old, p.revision.Doubles...), nil // pods may be of a double
	p.update, p.current = p.revision.Current, p.revision.Current
	for _, r := range h.revisions.Own {
		if r.Name == h.set.Status.CurrentRevision && r.Name != p.update.Name {
			p.current = r
		}
	}
	if h.set.DeletionTimestamp != nil {
		p.revision = revision.Plan{}
		return p, nil
	}
	v := &view{have: h, now: now, ordered: h.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement}
	if err := v.sort(&p); err != nil {
		return p, err
	}
	p.own(v)
	if p.living(v) && p.condemned(v) && h.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		if err := p.roll(v); err != nil {
			return p, err
		}
	}
	p.after = v.after
	p.history(h)
	return p, nil
}

// view is the pods of a set by what is wanted of them.
type view struct {
	have
	now     time.Time
	ordered bool
	after   time.Duration
	// replicas by number, from the first; those that do not exist are made as they would be.
	replicas []*corev1.Pod
	made     map[*corev1.Pod]bool
	// surplus have a number that is not wanted, the highest first.
	surplus []*corev1.Pod
	// weakest is the first that is not available: of the replicas, or else of the surplus from the lowest number.
	weakest *corev1.Pod
}

func (v *view) sort(p *plan) error {
	v.replicas, v.made = make([]*corev1.Pod, size(v.set)), map[*corev1.Pod]bool{}
	for _, pod := range v.pods.Own {
		if n := ordinalOf(v.set.Name, pod); wanted(v.set, n) {
			v.replicas[n-start(v.set)] = pod
		} else {
			v.surplus = append(v.surplus, pod)
		}
	}
	for i := range v.replicas {
		if v.replicas[i] == nil {
			pod, err := v.newPod(p, start(v.set)+i)
			if err != nil {
				return err
			}
			v.replicas[i], v.made[pod] = pod, true
		}
	}
	slices.SortFunc(v.surplus, func(a, b *corev1.Pod) int {
		return cmp.Compare(ordinalOf(v.set.Name, b), ordinalOf(v.set.Name, a))
	})
	for _, pod := range append(slices.Clone(v.replicas), reversed(v.surplus)...) {
		if v.weakest == nil && v.unavailable(pod) {
			v.weakest = pod
		}
	}
	return nil
}

func reversed(pods []*corev1.Pod) []*corev1.Pod {
	pods = slices.Clone(pods)
	slices.Reverse(pods)
	return pods
}

// newPod makes the pod of a number: of the current revision when a rollout has not come to it or is held back from it by the partition.
func (v *view) newPod(p *plan, ordinal int) (*corev1.Pod, error) {
	before := start(v.set)
	u := v.set.Spec.UpdateStrategy
	switch {
	case u.RollingUpdate != nil && u.RollingUpdate.Partition != nil:
		before += int(*u.RollingUpdate.Partition)
	case u.Type == appsv1.RollingUpdateStatefulSetStrategyType:
		before += int(v.set.Status.CurrentReplicas)
	}
	if ordinal >= before || p.current.Name == p.update.Name {
		return podOf(v.set, &v.set.Spec.Template, p.update.Name, ordinal), nil
	}
	template, err := revision.Template(p.current)
	if err != nil {
		return nil, err
	}
	return podOf(v.set, template, p.current.Name, ordinal), nil
}

// own brings the owners of the claims of all pods in line with the retention policy.
func (p *plan) own(v *view) {
	for _, pod := range v.pods.Own {
		for _, c := range claimsOf(v.set, ordinalOf(v.set.Name, pod)) {
			claim := v.claims[c.Name]
			if claim == nil {
				continue
			}
			if refs, differ := owners(v.set, pod, claim); differ {
				p.owners = append(p.owners, ownerChange{claim, refs})
			}
		}
	}
}

// living makes and mends the replicas; it returns false when one of them has to be waited for.
func (p *plan) living(v *view) bool {
	for _, pod := range v.replicas {
		if !p.replica(v, pod) && v.ordered {
			return false
		}
	}
	return true
}

// replica brings one replica on; false means that those after it have to wait.
func (p *plan) replica(v *view, pod *corev1.Pod) bool {
	ordinal := ordinalOf(v.set.Name, pod)
	if v.made[pod] {
		if missing, leaving := v.missing(ordinal); !leaving && !v.stale(ordinal) {
			p.create = append(p.create, newPod{pod, missing})
		}
		return false
	}
	switch pod.Status.Phase {
	case corev1.PodFailed, corev1.PodSucceeded: // its successor comes when it has gone
		if pod.DeletionTimestamp == nil {
			p.remove = append(p.remove, pod)
		}
		return false
	case corev1.PodPending:
		if missing, _ := v.missing(ordinal); pod.DeletionTimestamp == nil {
			p.claims = append(p.claims, missing...)
		}
	}
	if pod.Labels[appsv1.StatefulSetPodNameLabel] != pod.Name && pod.DeletionTimestamp == nil {
		p.identify = append(p.identify, pod)
	}
	return !v.unavailable(pod)
}

// condemned deletes what has too high or too low a number; it returns false when that is not over.
func (p *plan) condemned(v *view) bool {
	for _, pod := range v.surplus {
		if pod.DeletionTimestamp == nil && (!v.ordered || !v.unavailable(pod) || pod == v.weakest) {
			p.remove = append(p.remove, pod)
		}
		if v.ordered {
			return false
		}
	}
	return true
}

// unavailable pods do not run, are going, or have not been ready for long enough: then v.after says when they will.
func (v *view) unavailable(pod *corev1.Pod) bool {
	if v.made[pod] || pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
		return true
	}
	wait := replica.AvailableIn(pod, v.set.Spec.MinReadySeconds, v.now)
	if wait > 0 && (v.after == 0 || wait < v.after) {
		v.after = wait
	}
	return wait != 0
}

// history drops revisions that neither the rollout nor a pod needs.
func (p *plan) history(h have) {
	limit := int32(10)
	if h.set.Spec.RevisionHistoryLimit != nil {
		limit = *h.set.Spec.RevisionHistoryLimit
	}
	live := map[string]bool{p.current.Name: true, p.update.Name: true}
	for _, pod := range h.pods.Own {
		live[pod.Labels[revisionLabel]] = true
	}
	idle := slices.DeleteFunc(slices.Clone(p.revision.Old), func(r *appsv1.ControllerRevision) bool { return live[r.Name] })
	p.drop = revision.Truncate(idle, limit, func(*appsv1.ControllerRevision) bool { return false })
}
