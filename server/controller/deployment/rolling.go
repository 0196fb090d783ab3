package deployment

import (
	"cmp"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type editor func(*appsv1.ReplicaSet) *appsv1.ReplicaSet

func (e editor) resize(rs *appsv1.ReplicaSet, d *appsv1.Deployment, replicas int32) {
	if *rs.Spec.Replicas == replicas && rs.Annotations[desiredAnnotation] == strconv.Itoa(int(*d.Spec.Replicas)) &&
		rs.Annotations[maxAnnotation] == strconv.Itoa(int(*d.Spec.Replicas+maxSurge(d))) {
		return
	}
	next := e(rs)
	next.Spec.Replicas = &replicas
	sizes(next, d)
}

// maxSurge is how many pods more than asked for may exist during an update.
func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := fenceposts(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, unavailable := fenceposts(d)
	return min(unavailable, *d.Spec.Replicas) // so none for a Deployment of size 0
}

// fenceposts resolves the percentages: surge up, unavailability down, and never both to zero, or nothing could move.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || r == nil {
		return 0, 0
	}
	scaled := func(v *intstr.IntOrString, up bool) int32 {
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(*d.Spec.Replicas), up)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	surge, unavailable = scaled(r.MaxSurge, true), scaled(r.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func total(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

// newReplicas is the size the newest ReplicaSet may have now.
func newReplicas(h have, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) int32 {
	d := h.d
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return *d.Spec.Replicas
	}
	current := int32(0)
	if newest != nil {
		current = *newest.Spec.Replicas
	}
	room := *d.Spec.Replicas + maxSurge(d) - total(old) - current
	if room <= 0 {
		return current
	}
	return current + min(room, max(0, *d.Spec.Replicas-current))
}

// rolling grows the newest ReplicaSet as far as maxSurge lets it, else shrinks the old ones as far as maxUnavailable lets it.
func rolling(h have, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, edit editor) {
	d := h.d
	if newest == nil {
		return
	}
	if *newest.Spec.Replicas > *d.Spec.Replicas {
		edit.resize(newest, d, *d.Spec.Replicas)
		return
	}
	if want := newReplicas(h, newest, old); want != *newest.Spec.Replicas {
		edit.resize(newest, d, want)
		return
	}
	shrink(d, newest, old, edit)
}

func shrink(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, edit editor) {
	minAvailable := *d.Spec.Replicas - maxUnavailable(d)
	newUnavailable := *newest.Spec.Replicas - newest.Status.AvailableReplicas
	budget := total(old) + *newest.Spec.Replicas - minAvailable - newUnavailable
	if budget <= 0 {
		return
	}
	size := map[string]int32{}
	available := newest.Status.AvailableReplicas
	for _, rs := range old {
		size[rs.Name] = *rs.Spec.Replicas
		available += rs.Status.AvailableReplicas
	}
	// What does not work goes first, whatever maxUnavailable says.
	for _, rs := range old {
		sick := min(budget, max(0, size[rs.Name]-rs.Status.AvailableReplicas))
		size[rs.Name] -= sick
		budget -= sick
	}
	for spare := available - minAvailable; spare > 0; {
		i := slices.IndexFunc(old, func(rs *appsv1.ReplicaSet) bool { return size[rs.Name] > 0 })
		if i < 0 {
			break
		}
		n := min(spare, size[old[i].Name])
		size[old[i].Name] -= n
		spare -= n
	}
	for _, rs := range old {
		if size[rs.Name] != *rs.Spec.Replicas {
			edit.resize(rs, d, size[rs.Name])
		}
	}
}

// mustWait tells whether a Recreate has to wait with the new pods: old ones are asked for, or still run.
func mustWait(h have, old []*appsv1.ReplicaSet) bool {
	for _, rs := range old {
		if *rs.Spec.Replicas > 0 || h.running[rs.Name] {
			return true
		}
	}
	return false
}

func recreate(h have, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, edit editor) {
	waiting := mustWait(h, old)
	for _, rs := range old {
		if *rs.Spec.Replicas > 0 {
			edit.resize(rs, h.d, 0)
		}
	}
	if !waiting && newest != nil {
		edit.resize(newest, h.d, *h.d.Spec.Replicas)
	}
}

// isScaling tells whether the Deployment's size has changed since its ReplicaSets were last scaled.
func isScaling(h have) bool {
	for _, rs := range h.sets {
		desired, ok := rs.Annotations[desiredAnnotation]
		if *rs.Spec.Replicas > 0 && ok && desired != strconv.Itoa(int(*h.d.Spec.Replicas)) {
			return true
		}
	}
	return false
}

// proportional spreads a change of size over the ReplicaSets that have pods, in proportion, so that a rollout under way keeps its balance.
func proportional(h have, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, edit editor) {
	d := h.d
	active := slices.DeleteFunc(slices.Clone(h.sets), func(rs *appsv1.ReplicaSet) bool { return *rs.Spec.Replicas == 0 })
	switch {
	case len(active) <= 1:
		scaleOne(d, newest, old, active, edit)
		return
	case newest != nil && saturated(d, newest):
		for _, rs := range active {
			if rs != newest {
				edit.resize(rs, d, 0)
			}
		}
		return
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return
	}
	allowed := int32(0)
	if *d.Spec.Replicas > 0 {
		allowed = *d.Spec.Replicas + maxSurge(d)
	}
	left := allowed - total(active)
	// Growing: the larger first, the newer among equals. Shrinking: the larger first, the older among equals.
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int {
		age := a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		if left > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas), age)
	})
	added, toAdd := int32(0), left
	size := make([]int32, len(active))
	for i, rs := range active {
		size[i] = *rs.Spec.Replicas
		if toAdd != 0 {
			share := fraction(rs, d, toAdd, added)
			size[i] += share
			added += share
		}
	}
	for i, rs := range active {
		if i == 0 && toAdd != 0 {
			size[0] = max(0, size[0]+toAdd-added)
		}
		edit.resize(rs, d, size[i])
	}
}

// scaleOne is for a Deployment with at most one ReplicaSet that has pods.
func scaleOne(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old, active []*appsv1.ReplicaSet, edit editor) {
	switch {
	case len(active) == 1:
		edit.resize(active[0], d, *d.Spec.Replicas)
	case newest != nil:
		edit.resize(newest, d, *d.Spec.Replicas)
	case len(old) > 0:
		edit.resize(old[len(old)-1], d, *d.Spec.Replicas)
	}
}

func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	n := strconv.Itoa(int(*d.Spec.Replicas))
	return rs.Annotations[desiredAnnotation] == n && *rs.Spec.Replicas == *d.Spec.Replicas && rs.Status.AvailableReplicas == *d.Spec.Replicas
}

// fraction is the share of one ReplicaSet in a change of toAdd, of which added is given away.
func fraction(rs *appsv1.ReplicaSet, d *appsv1.Deployment, toAdd, added int32) int32 {
	if *d.Spec.Replicas == 0 {
		return -*rs.Spec.Replicas
	}
	before, err := strconv.ParseInt(rs.Annotations[maxAnnotation], 10, 32)
	if err != nil || before <= 0 {
		before = int64(max(1, d.Status.Replicas))
	}
	want := float64(*rs.Spec.Replicas) * float64(*d.Spec.Replicas+maxSurge(d)) / float64(before)
	share := int32(roundHalfAway(want)) - *rs.Spec.Replicas
	if toAdd > 0 {
		return min(max(share, 0), toAdd-added)
	}
	return max(min(share, 0), toAdd-added)
}

func roundHalfAway(f float64) float64 {
	if f < 0 {
		return float64(int64(f - 0.5))
	}
	return float64(int64(f + 0.5))
}
