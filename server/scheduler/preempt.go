package scheduler

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// maxCandidates bounds how many nodes are compared for a preemption.
const maxCandidates = 100

// candidate is a node on which the pod fits when the victims have gone.
type candidate struct {
	node    *nodeInfo
	victims []*podInfo // the most important first
	// broken counts those whose eviction a PodDisruptionBudget does not allow.
	broken int
}

// preempt finds the node on which making room costs least. The message says why there is none. A node without victims is
// one on which room is being made already.
func preempt(c *cycle, no *refusals) (node string, victims []*podInfo, message string) {
	if p := c.pod.Spec.PreemptionPolicy; p != nil && *p == corev1.PreemptNever {
		return "", nil, "preemption: not eligible due to preemptionPolicy=Never."
	}
	if node := c.waitsForVictims(); node != "" {
		return node, nil, "preemption: not eligible due to a terminating pod on the nominated node."
	}
	counts := map[string]int{}
	var found []candidate
	for _, n := range c.cluster.nodes {
		v, refused := no.nodes[n.name]
		switch {
		case no.all != nil || refused && v.final:
			counts["Preemption is not helpful for scheduling"]++
		case len(found) >= maxCandidates:
		default:
			if one, ok := c.candidate(n); ok {
				found = append(found, one)
			} else {
				counts["No preemption victims found for incoming pod"]++
			}
		}
	}
	if len(found) == 0 {
		return "", nil, "preemption: " + unavailable(len(c.cluster.nodes), counts)
	}
	best := slices.MinFunc(found, compareCandidates)
	return best.node.name, best.victims, ""
}

// waitsForVictims: room is being made on a node, and what has to go there is still going.
func (c *cycle) waitsForVictims() (node string) {
	n := c.cluster.byName[c.cluster.nominatedNode(c.pod.key)]
	if n == nil || n.Node == nil {
		return ""
	}
	for _, p := range n.pods {
		if p.priority < c.pod.priority && (p.DeletionTimestamp != nil || c.cluster.evicting[p.key] == p.UID) {
			return n.name
		}
	}
	return ""
}

// candidate takes all less important pods off the node and, if the pod then fits, puts as many of them back as it can:
// first those that a budget protects, then the more important ones.
func (c *cycle) candidate(n *nodeInfo) (candidate, bool) {
	var lower []*podInfo
	emptied := n.clone()
	for _, p := range n.pods {
		if p.priority < c.pod.priority {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return candidate{}, false
	}
	for _, p := range lower {
		emptied.remove(p)
	}
	if !c.wouldFit(emptied) {
		return candidate{}, false
	}
	slices.SortFunc(lower, moreImportant)
	protected, free := c.byBudget(lower)
	found := candidate{node: n}
	for i, p := range append(protected, free...) {
		emptied.add(p)
		if c.wouldFit(emptied) {
			continue
		}
		emptied.remove(p)
		found.victims = append(found.victims, p)
		if i < len(protected) {
			found.broken++
		}
	}
	slices.SortFunc(found.victims, moreImportant)
	return found, len(found.victims) > 0
}

// wouldFit asks all rules about a node as it could be.
func (c *cycle) wouldFit(n *nodeInfo) bool {
	then, all := prepare(c.cluster.with(n), c.pod)
	if all != nil {
		return false
	}
	_, ok := then.checkNominated(n)
	return ok
}

// byBudget splits pods into those whose eviction would break a PodDisruptionBudget, and the others.
func (c *cycle) byBudget(pods []*podInfo) (protected, free []*podInfo) {
	type budget struct {
		selector labels.Selector
		allowed  int32
	}
	budgets := map[string][]*budget{}
	for namespace, all := range c.cluster.budgets {
		for _, b := range all {
			if s := selectorOf(b.Spec.Selector); !s.Empty() {
				budgets[namespace] = append(budgets[namespace], &budget{s, b.Status.DisruptionsAllowed})
			}
		}
	}
	for _, p := range pods {
		broken := false
		for _, b := range budgets[p.Namespace] {
			if b.selector.Matches(labels.Set(p.Labels)) {
				b.allowed--
				broken = broken || b.allowed < 0
			}
		}
		if broken {
			protected = append(protected, p)
		} else {
			free = append(free, p)
		}
	}
	return protected, free
}

// moreImportant: higher priority first, then the one that has run longer.
func moreImportant(a, b *podInfo) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), started(a).Compare(started(b)), cmp.Compare(a.key, b.key))
}

// started is when the kubelet took the pod on; one that it has not yet taken is the youngest.
func started(p *podInfo) time.Time {
	if p.Status.StartTime != nil {
		return p.Status.StartTime.Time
	}
	return time.Unix(1<<40, 0)
}

// compareCandidates: fewest broken budgets, the least important first victim, the smallest sum of priorities, fewest
// victims, and the most important victim started last.
func compareCandidates(a, b candidate) int {
	sum := func(c candidate) (total int64) {
		for _, v := range c.victims {
			total += int64(v.priority) + 1<<31
		}
		return total
	}
	return cmp.Or(
		cmp.Compare(a.broken, b.broken),
		cmp.Compare(a.victims[0].priority, b.victims[0].priority),
		cmp.Compare(sum(a), sum(b)),
		cmp.Compare(len(a.victims), len(b.victims)),
		started(b.victims[0]).Compare(started(a.victims[0])),
		cmp.Compare(a.node.name, b.node.name),
	)
}
