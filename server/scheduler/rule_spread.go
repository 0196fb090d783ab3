package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// topologySpread: constraints with DoNotSchedule.
var topologySpread = rule{
	name: "PodTopologySpread", wakes: nodeAdded | nodeLabels | nodeSpec | podGone | podPlaced | podLabels,
	prepare: func(c *cycle) (bool, *rejection) {
		c.hard = spreadsOf(c, corev1.DoNotSchedule)
		for _, s := range c.hard {
			s.count(c, c.hard)
		}
		return len(c.hard) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for _, s := range c.hard {
			value, ok := n.Labels[s.TopologyKey]
			if !ok {
				return noTopology
			}
			if s.counts[value]+s.self-s.least > int64(s.MaxSkew) {
				return skewed
			}
		}
		return nil
	},
}

var (
	skewed     = no(false, "node(s) didn't match pod topology spread constraints")
	noTopology = no(true, "node(s) didn't match pod topology spread constraints (missing required label)")
)

// spread is one constraint and how the pods it counts are spread now.
type spread struct {
	*corev1.TopologySpreadConstraint
	selector labels.Selector
	self     int64 // 1 if the pod counts itself
	counts   map[string]int64
	least    int64
}

func spreadsOf(c *cycle, when corev1.UnsatisfiableConstraintAction) (all []*spread) {
	for i := range c.pod.Spec.TopologySpreadConstraints {
		in := &c.pod.Spec.TopologySpreadConstraints[i]
		if in.WhenUnsatisfiable != when {
			continue
		}
		s := &spread{TopologySpreadConstraint: in, selector: selectorOf(in.LabelSelector), counts: map[string]int64{}}
		if s.selector.Matches(labels.Set(c.pod.Labels)) {
			s.self = 1
		}
		all = append(all, s)
	}
	return all
}

// count counts the pods in each domain of the nodes that count: those that have the keys of all constraints, and that the
// pod's node affinity and, if asked for, tolerations admit.
func (s *spread) count(c *cycle, all []*spread) {
	for _, n := range c.cluster.nodes {
		if !hasKeys(n, all) || !s.includes(c, n) {
			continue
		}
		value := n.Labels[s.TopologyKey]
		s.counts[value] += s.matching(c, n)
	}
	s.least = math.MaxInt64
	for _, count := range s.counts {
		s.least = min(s.least, count)
	}
	if len(s.counts) == 0 || s.MinDomains != nil && len(s.counts) < int(*s.MinDomains) {
		s.least = 0
	}
}

func hasKeys(n *nodeInfo, all []*spread) bool {
	for _, s := range all {
		if _, ok := n.Labels[s.TopologyKey]; !ok {
			return false
		}
	}
	return true
}

func (s *spread) includes(c *cycle, n *nodeInfo) bool {
	if (s.NodeAffinityPolicy == nil || *s.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor) && selectsNodes(c.pod.Pod) {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(c.pod.Pod).Match(n.Node); err != nil || !ok {
			return false
		}
	}
	if s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
		return taints.filter(c, n) == nil
	}
	return true
}

// matching counts the pods on a node that the constraint means.
func (s *spread) matching(c *cycle, n *nodeInfo) (count int64) {
	for _, p := range n.pods {
		if p.Namespace == c.pod.Namespace && p.DeletionTimestamp == nil && s.selector.Matches(labels.Set(p.Labels)) {
			count++
		}
	}
	return count
}

// Constraints with ScheduleAnyway are a score: the fewer pods in the node's domains, the better; and a domain weighs the
// more the more of its kind there are. A pod without constraints is spread over nodes and zones, away from the pods of the
// same controller, or, if it has none, from those that the same Services select.

// softSpread is one constraint as a score.
type softSpread struct {
	key     string
	maxSkew int64
	weight  float64
	counts  map[string]int64 // by domain; nil if each node is a domain of its own
	perNode func(*nodeInfo) int64
}

func prepareSpreadScore(c *cycle, feasible []*nodeInfo) bool {
	if len(c.pod.Spec.TopologySpreadConstraints) > 0 {
		c.soft = c.declared(feasible)
	} else {
		c.soft = c.implied(feasible)
	}
	return len(c.soft) > 0
}

func (c *cycle) declared(feasible []*nodeInfo) (all []softSpread) {
	constraints := spreadsOf(c, corev1.ScheduleAnyway)
	c.needKeys = constraints
	for _, s := range constraints {
		count := func(n *nodeInfo) int64 { return s.matching(c, n) }
		all = append(all, c.soften(s.TopologyKey, int64(s.MaxSkew), feasible, count, func(n *nodeInfo) bool {
			return hasKeys(n, constraints) && s.includes(c, n)
		}))
	}
	return all
}

// implied constraints, as upstream's default ones.
func (c *cycle) implied(feasible []*nodeInfo) []softSpread {
	c.needKeys = nil
	count := c.kin()
	if count == nil {
		return nil
	}
	everywhere := func(*nodeInfo) bool { return true }
	all := []softSpread{c.soften(corev1.LabelHostname, 3, feasible, count, everywhere)}
	if zones := c.soften(corev1.LabelTopologyZone, 5, feasible, count, everywhere); len(zones.counts) > 0 {
		all = append(all, zones)
	}
	return all
}

// kin returns what counts the pods on a node that are of the same kind as the pod; nil if it is one of a kind.
func (c *cycle) kin() func(*nodeInfo) int64 {
	if owner := c.pod.owner; owner != "" {
		return func(n *nodeInfo) int64 { return int64(n.owners[owner]) }
	}
	var selectors []labels.Selector
	for _, service := range c.cluster.services[c.pod.Namespace] {
		if len(service.Spec.Selector) == 0 {
			continue
		}
		if s := labels.SelectorFromSet(service.Spec.Selector); s.Matches(labels.Set(c.pod.Labels)) {
			selectors = append(selectors, s)
		}
	}
	if len(selectors) == 0 {
		return nil
	}
	return func(n *nodeInfo) (count int64) {
		for _, p := range n.pods {
			same := p.Namespace == c.pod.Namespace && p.DeletionTimestamp == nil
			for _, s := range selectors {
				same = same && s.Matches(labels.Set(p.Labels))
			}
			if same {
				count++
			}
		}
		return count
	}
}

func (c *cycle) soften(key string, maxSkew int64, feasible []*nodeInfo, count func(*nodeInfo) int64, includes func(*nodeInfo) bool) softSpread {
	s := softSpread{key: key, maxSkew: maxSkew, perNode: count}
	if key == corev1.LabelHostname {
		s.weight = math.Log(float64(len(feasible) + 2))
		return s
	}
	s.counts = map[string]int64{}
	for _, n := range feasible {
		if value, ok := n.Labels[key]; ok {
			s.counts[value] = 0
		}
	}
	s.weight = math.Log(float64(len(s.counts) + 2))
	for _, n := range c.cluster.nodes {
		value, ok := n.Labels[key]
		if _, wanted := s.counts[value]; ok && wanted && includes(n) {
			s.counts[value] += count(n)
		}
	}
	return s
}

func scoreSpread(c *cycle, n *nodeInfo) int64 {
	if !hasKeys(n, c.needKeys) {
		return -1
	}
	var sum float64
	for i := range c.soft {
		s := &c.soft[i]
		var count int64
		if s.counts == nil {
			count = s.perNode(n)
		} else if value, ok := n.Labels[s.key]; ok {
			count = s.counts[value]
		} else {
			continue
		}
		sum += float64(count)*s.weight + float64(s.maxSkew-1)
	}
	return int64(math.Round(sum))
}
