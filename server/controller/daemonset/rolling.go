package daemonset

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// surges tells whether a node may have a new pod beside the old one.
func surges(ds *appsv1.DaemonSet) bool {
	n, err := amount(ds, 1, func(r *appsv1.RollingUpdateDaemonSet) *intstr.IntOrString { return r.MaxSurge })
	return err == nil && n > 0
}

// amount is maxSurge or maxUnavailable of so many nodes, rounded up.
func amount(ds *appsv1.DaemonSet, nodes int, which func(*appsv1.RollingUpdateDaemonSet) *intstr.IntOrString) (int, error) {
	u := ds.Spec.UpdateStrategy
	if u.Type != appsv1.RollingUpdateDaemonSetStrategyType || u.RollingUpdate == nil || which(u.RollingUpdate) == nil {
		return 0, nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(which(u.RollingUpdate), nodes, true)
	if err != nil {
		return 0, fmt.Errorf("daemon set %s/%s: update strategy: %w", ds.Namespace, ds.Name, err)
	}
	return n, nil
}

// roll moves nodes to the current template, within maxUnavailable or maxSurge.
func (p *plan) roll(h have, f fit, now time.Time) error {
	nodes, fits := h.rollable(f)
	surge, err := amount(h.ds, fits, func(r *appsv1.RollingUpdateDaemonSet) *intstr.IntOrString { return r.MaxSurge })
	if err != nil {
		return err
	}
	unavailable, err := amount(h.ds, fits, func(r *appsv1.RollingUpdateDaemonSet) *intstr.IntOrString { return r.MaxUnavailable })
	if err != nil {
		return err
	}
	switch {
	case surge > 0:
		p.rollWithSurge(h, nodes, surge, fits, now)
	case unavailable == 0 && fits > 0:
		p.rollInPlace(h, nodes, 1, now)
	default:
		p.rollInPlace(h, nodes, unavailable, now)
	}
	return nil
}

// site is a node in a rollout.
type site struct {
	name string
	run  bool // the template wants to be there
	// fresh is its pod of the current template, stale the other one.
	fresh, stale *corev1.Pod
	crowded      bool // more than one of a sort: manage sees to it first
}

// rollable are the nodes that have a pod or should have one, by name, and how many should.
func (h have) rollable(f fit) (sites []site, fits int) {
	byName := map[string]*corev1.Node{}
	for _, node := range h.nodes {
		byName[node.Name] = node
	}
	names := map[string]bool{}
	for name := range h.byNode {
		names[name] = true
	}
	run := map[string]bool{}
	for name, node := range byName {
		if wants, _ := f.on(node); wants {
			run[name], names[name] = true, true
			fits++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		sites = append(sites, site{name: name, run: run[name]})
	}
	return sites, fits
}

func (s *site) look(pods []*corev1.Pod, hash string) {
	for _, pod := range active(pods) {
		slot := &s.stale
		if pod.Labels[hashLabel] == hash {
			slot = &s.fresh
		}
		if *slot != nil {
			s.crowded = true
		}
		*slot = pod
	}
}

// rollInPlace deletes old pods; the next look makes new ones where they were. Those that do not work go at once.
func (p *plan) rollInPlace(h have, sites []site, allowed int, now time.Time) {
	missing := 0
	var broken, candidates []*corev1.Pod
	for _, s := range sites {
		s.look(h.byNode[s.name], p.hash())
		switch {
		case s.crowded, (s.fresh == nil) == (s.stale == nil):
			missing++
		case s.fresh != nil:
			if !p.available(h, s.fresh, now) {
				missing++
			}
		case !p.available(h, s.stale, now):
			broken = append(broken, s.stale)
			missing++
		default:
			candidates = append(candidates, s.stale)
		}
	}
	p.remove = append(p.remove, broken...)
	p.remove = append(p.remove, candidates[:min(max(0, allowed-missing), len(candidates))]...)
}

// rollWithSurge makes new pods beside old ones, and deletes an old one when the new one is available. Where the template is not wanted
// any more the old one goes as soon as enough others are available.
func (p *plan) rollWithSurge(h have, sites []site, surge, wanted int, now time.Time) {
	surging, available := 0, 0
	var unwanted []*corev1.Pod
	var urgent, candidates []string
	for _, s := range sites {
		if s.look(h.byNode[s.name], p.hash()); s.crowded {
			surging++
			continue
		}
		if pod := s.stale; pod != nil && p.available(h, pod, now) || pod == nil && s.fresh != nil && p.available(h, s.fresh, now) {
			available++
		}
		switch {
		case s.stale == nil:
		case s.fresh != nil:
			if p.available(h, s.fresh, now) {
				p.remove = append(p.remove, s.stale)
			} else {
				surging++
			}
		case !p.available(h, s.stale, now) && s.run:
			urgent = append(urgent, s.name)
		case !p.available(h, s.stale, now):
			p.remove = append(p.remove, s.stale)
		case !s.run:
			unwanted = append(unwanted, s.stale)
		default:
			candidates = append(candidates, s.name)
		}
	}
	p.remove = append(p.remove, unwanted[:min(max(0, available-wanted), len(unwanted))]...)
	p.create = append(p.create, urgent...)
	p.create = append(p.create, candidates[:min(max(0, surge-surging), len(candidates))]...)
}

// available tells whether a pod counts as working, and if it only has to stay ready, when to look again.
func (p *plan) available(h have, pod *corev1.Pod, now time.Time) bool {
	wait := replica.AvailableIn(pod, h.ds.Spec.MinReadySeconds, now)
	if wait > 0 {
		p.after = soonest(p.after, wait)
	}
	return wait == 0
}
