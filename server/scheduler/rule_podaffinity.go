package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// podAffinity: required affinity and anti-affinity between pods, the pod's own and that of those already placed.
var podAffinity = rule{
	name: "InterPodAffinity", wakes: nodeAdded | nodeLabels | podGone | podPlaced | podLabels | namespaceLabels,
	prepare: func(c *cycle) (bool, *rejection) {
		c.together = newTogether(c)
		return c.together != nil, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection { return c.together.check(c, n) },
}

var (
	noAffinity     = no(true, "node(s) didn't match pod affinity rules")
	antiAffinity   = no(false, "node(s) didn't match pod anti-affinity rules")
	theirAntiNeeds = no(false, "node(s) didn't satisfy existing pods anti-affinity rules")
)

// requiredTheirs is the weight of a placed pod's required affinity to the new one.
const requiredTheirs = 1

// domain is one value of a topology key: a node, a zone.
type domain struct{ key, value string }

type topologyCounts map[domain]int64

// add counts by in the domain of a node, if the node has the key.
func (t topologyCounts) add(n *nodeInfo, key string, by int64) {
	if value, ok := n.Labels[key]; ok {
		t[domain{key, value}] += by
	}
}

// together is where the pods are that matter to a pod's affinity.
type together struct {
	// wanted and unwanted pods by the pod's own terms; repelled by those of placed pods that reject it.
	wanted, unwanted, repelled topologyCounts
}

// newTogether returns nil if no pod matters.
func newTogether(c *cycle) *together {
	p := c.pod
	own := len(p.affinity)+len(p.antiAffinity) > 0
	var t *together
	for _, n := range c.cluster.nodes {
		if !own && n.withAntiNeeds == 0 {
			continue
		}
		if t == nil {
			t = &together{topologyCounts{}, topologyCounts{}, topologyCounts{}}
		}
		for _, other := range n.pods {
			t.see(c.cluster, p, n, other)
		}
	}
	if own && t == nil {
		t = &together{}
	}
	return t
}

func (t *together) see(c *cluster, p *podInfo, n *nodeInfo, other *podInfo) {
	for i := range other.antiAffinity {
		if theirs := &other.antiAffinity[i]; theirs.matches(c, p.Pod) {
			t.repelled.add(n, theirs.topologyKey, 1)
		}
	}
	if len(p.affinity) > 0 && matchesAll(p.affinity, c, other.Pod) {
		for i := range p.affinity {
			t.wanted.add(n, p.affinity[i].topologyKey, 1)
		}
	}
	for i := range p.antiAffinity {
		if mine := &p.antiAffinity[i]; mine.matches(c, other.Pod) {
			t.unwanted.add(n, mine.topologyKey, 1)
		}
	}
}

func matchesAll(terms []term, c *cluster, pod *corev1.Pod) bool {
	for i := range terms {
		if !terms[i].matches(c, pod) {
			return false
		}
	}
	return true
}

func (t *together) check(c *cycle, n *nodeInfo) *rejection {
	if !t.near(c, n) {
		return noAffinity
	}
	for i := range c.pod.antiAffinity {
		key := c.pod.antiAffinity[i].topologyKey
		if value, ok := n.Labels[key]; ok && t.unwanted[domain{key, value}] > 0 {
			return antiAffinity
		}
	}
	if len(t.repelled) > 0 {
		for key, value := range n.Labels {
			if t.repelled[domain{key, value}] > 0 {
				return theirAntiNeeds
			}
		}
	}
	return nil
}

// near says whether the wanted pods are where the node is. The first of a group that wants to be together has nobody to
// be with: it may go anywhere that has the topology.
func (t *together) near(c *cycle, n *nodeInfo) bool {
	found := true
	for i := range c.pod.affinity {
		key := c.pod.affinity[i].topologyKey
		value, ok := n.Labels[key]
		if !ok {
			return false
		}
		found = found && t.wanted[domain{key, value}] > 0
	}
	return found || len(t.wanted) == 0 && matchesAll(c.pod.affinity, c.cluster, c.pod.Pod)
}

// Preferred affinity: the weights of all terms that hold between the pod and the placed ones, both ways.

func preparePreferredPods(c *cycle, _ []*nodeInfo) bool {
	p := c.pod
	own := len(p.preferredAffinity)+len(p.preferredAntiAffinity) > 0
	c.sympathy = nil
	for _, n := range c.cluster.nodes {
		if !own && n.withAffinity == 0 {
			continue
		}
		if c.sympathy == nil {
			c.sympathy = topologyCounts{}
		}
		for _, other := range n.pods {
			if own || other.hasAffinity() {
				c.sympathize(n, other)
			}
		}
	}
	return len(c.sympathy) > 0
}

func (c *cycle) sympathize(n *nodeInfo, other *podInfo) {
	add := func(terms []term, pod *corev1.Pod, sign int64, fixed int64) {
		for i := range terms {
			if t := &terms[i]; t.matches(c.cluster, pod) {
				c.sympathy.add(n, t.topologyKey, sign*(t.weight+fixed))
			}
		}
	}
	add(c.pod.preferredAffinity, other.Pod, 1, 0)
	add(c.pod.preferredAntiAffinity, other.Pod, -1, 0)
	add(other.preferredAffinity, c.pod.Pod, 1, 0)
	add(other.preferredAntiAffinity, c.pod.Pod, -1, 0)
	add(other.affinity, c.pod.Pod, 1, requiredTheirs)
}

func scorePreferredPods(c *cycle, n *nodeInfo) (sum int64) {
	for key, value := range n.Labels {
		sum += c.sympathy[domain{key, value}]
	}
	return sum
}
