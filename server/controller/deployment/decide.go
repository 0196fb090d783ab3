package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations that kubectl and this controller share.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// notCopied are the Deployment's annotations that its ReplicaSets do not get.
var notCopied = []string{corev1.LastAppliedConfigAnnotation, RevisionAnnotation, revisionHistoryAnnotation, desiredAnnotation, maxAnnotation,
	appsv1.DeprecatedRollbackTo}

// change is an update of one ReplicaSet.
type change struct{ old, next *appsv1.ReplicaSet }

// plan is what to do, in the order of the fields.
type plan struct {
	release, adopt []*appsv1.ReplicaSet
	create         *appsv1.ReplicaSet
	update         []change
	remove         []*appsv1.ReplicaSet
	revision       string // of the Deployment, "" if it has none
	status         appsv1.DeploymentStatus
	after          time.Duration
}

func (p plan) String() string {
	var b strings.Builder
	for _, rs := range p.release {
		fmt.Fprintf(&b, "release %s\n", rs.Name)
	}
	for _, rs := range p.adopt {
		fmt.Fprintf(&b, "adopt %s\n", rs.Name)
	}
	if p.create != nil {
		fmt.Fprintf(&b, "create replicas=%d revision=%s\n", *p.create.Spec.Replicas, p.create.Annotations[RevisionAnnotation])
	}
	for _, u := range p.update {
		fmt.Fprintf(&b, "update %s replicas %d→%d revision=%s\n", u.next.Name, *u.old.Spec.Replicas, *u.next.Spec.Replicas, u.next.Annotations[RevisionAnnotation])
	}
	for _, rs := range p.remove {
		fmt.Fprintf(&b, "delete %s\n", rs.Name)
	}
	fmt.Fprintf(&b, "revision %s\n", p.revision)
	s := p.status
	fmt.Fprintf(&b, "status replicas=%d updated=%d ready=%d available=%d unavailable=%d\n", s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s\n", c.Type, c.Status, c.Reason)
	}
	if p.after > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.after)
	}
	return b.String()
}

// decide is pure.
func decide(h have, now metav1.Time) plan {
	d := h.d
	p := plan{release: h.release, adopt: h.adopt}
	newest, old := split(h)
	if d.DeletionTimestamp != nil || len(h.adopt)+len(h.release) > 0 {
		if d.DeletionTimestamp != nil {
			p.adopt, p.release = nil, nil
		}
		p.status, p.after = status(h, newest, now)
		p.revision = d.Annotations[RevisionAnnotation]
		return p // the events of these writes bring us back
	}
	changes := map[string]*appsv1.ReplicaSet{}
	edit := func(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
		if changes[rs.Name] == nil {
			changes[rs.Name] = rs.DeepCopy()
		}
		return changes[rs.Name]
	}

	switch {
	case newest == nil && !d.Spec.Paused && !(d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && mustWait(h, old)):
		p.create = newReplicaSet(h, old)
		p.revision = p.create.Annotations[RevisionAnnotation]
	case newest != nil:
		annotate(edit(newest), d, nextRevision(newest, old))
		if d.Spec.MinReadySeconds != newest.Spec.MinReadySeconds {
			edit(newest).Spec.MinReadySeconds = d.Spec.MinReadySeconds
		}
		p.revision = changes[newest.Name].Annotations[RevisionAnnotation]
	default:
		p.revision = d.Annotations[RevisionAnnotation]
	}

	if p.create == nil {
		scale(h, newest, old, edit)
	}
	for _, rs := range h.sets {
		if next := changes[rs.Name]; next != nil && !equality.Semantic.DeepEqual(rs, next) {
			p.update = append(p.update, change{rs, next})
		}
	}
	if newest != nil && complete(d, d.Status) {
		p.remove = history(d, old)
	}
	p.status, p.after = status(h, newest, now)
	if p.create != nil && hasDeadline(d) {
		setProgress(&p.status, corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", p.create.Name), now, true)
	}
	return p
}

func scale(h have, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, edit func(*appsv1.ReplicaSet) *appsv1.ReplicaSet) {
	d := h.d
	switch {
	case d.Spec.Paused || isScaling(h):
		proportional(h, newest, old, edit)
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		recreate(h, newest, old, edit)
	default:
		rolling(h, newest, old, edit)
	}
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(withoutHash(a), withoutHash(b))
}

func withoutHash(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, ok := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return t
	}
	out := *t
	out.Labels = maps.Clone(t.Labels)
	delete(out.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return &out
}

// split finds the ReplicaSet of the current template (the oldest, if there are several; nil if there is none) and the others, oldest first.
func split(h have) (newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sets := slices.Clone(h.sets)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range sets {
		if newest == nil && sameTemplate(&rs.Spec.Template, &h.d.Spec.Template) {
			newest = rs
			continue
		}
		old = append(old, rs)
	}
	return newest, old
}

func revision(annotations map[string]string) int64 {
	n, err := strconv.ParseInt(annotations[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func nextRevision(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) string {
	var highest int64
	for _, rs := range old {
		highest = max(highest, revision(rs.Annotations))
	}
	if newest != nil && revision(newest.Annotations) > highest {
		return newest.Annotations[RevisionAnnotation]
	}
	return strconv.FormatInt(highest+1, 10)
}

// annotate brings the annotations of the newest ReplicaSet in line with its Deployment.
func annotate(rs *appsv1.ReplicaSet, d *appsv1.Deployment, revision string) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for key, value := range d.Annotations {
		if !slices.Contains(notCopied, key) {
			rs.Annotations[key] = value
		}
	}
	if before := rs.Annotations[RevisionAnnotation]; before != revision {
		if before != "" {
			rs.Annotations[revisionHistoryAnnotation] = appendHistory(rs.Annotations[revisionHistoryAnnotation], before)
		}
		rs.Annotations[RevisionAnnotation] = revision
	}
}

// maxHistory is how many characters the list of former revisions may have; the oldest are dropped.
const maxHistory = 2000

func appendHistory(history, revision string) string {
	list := slices.DeleteFunc(strings.Split(history, ","), func(s string) bool { return s == "" })
	list = append(list, revision)
	for len(list) > 1 && len(strings.Join(list, ",")) > maxHistory {
		list = list[1:]
	}
	return strings.Join(list, ",")
}

// sizes notes how large the Deployment was when the ReplicaSet was last scaled, for proportional scaling.
func sizes(rs *appsv1.ReplicaSet, d *appsv1.Deployment) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	rs.Annotations[desiredAnnotation] = strconv.Itoa(int(*d.Spec.Replicas))
	rs.Annotations[maxAnnotation] = strconv.Itoa(int(*d.Spec.Replicas + maxSurge(d)))
}

func newReplicaSet(h have, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	d := h.d
	template := d.Spec.Template.DeepCopy()
	hash := templateHash(template, d.Status.CollisionCount)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	replicas := newReplicas(h, nil, old)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + hash, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, gvk)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template},
	}
	annotate(rs, d, nextRevision(nil, old))
	sizes(rs, d)
	return rs
}

// history returns the old ReplicaSets beyond revisionHistoryLimit that hold no pods, oldest revision first.
func history(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	limit := 10
	if d.Spec.RevisionHistoryLimit != nil {
		limit = int(*d.Spec.RevisionHistoryLimit)
	}
	idle := slices.DeleteFunc(slices.Clone(old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	excess := len(idle) - limit
	if excess <= 0 {
		return nil
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(revision(a.Annotations), revision(b.Annotations))
	})
	return slices.DeleteFunc(idle[:excess], func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.Replicas != 0 || *rs.Spec.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
}
