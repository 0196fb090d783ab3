package scheduler

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// cycle is one look at one pod. The fields below pod belong to the rules and scores that prepare them.
type cycle struct {
	cluster *cluster
	pod     *podInfo
	active  []*rule // those that matter for this pod

	required nodeaffinity.RequiredNodeAffinity
	named    map[string]bool
	volumes  []*nodeaffinity.LazyErrorNodeSelector
	features []string
	taken    bool               // a claim of one pod, by another
	attach   map[csiVolume]bool // what the pod's node has to attach
	drivers  []string           // that the node has to have
	zones    []zone
	devices  []*nodeaffinity.LazyErrorNodeSelector
	// unallocated: devices are claimed that nobody has allocated for the pod.
	unallocated bool

	hard     []*spread
	together *together

	preferred *nodeaffinity.PreferredSchedulingTerms
	soft      []softSpread
	needKeys  []*spread
	sympathy  topologyCounts
	images    []string
}

// decision on one pod. Either it has a node, or a message says why not and nominate and victims how to make room.
type decision struct {
	pod  *podInfo
	node string
	// looked is how many nodes were looked at, from the one where the look began.
	looked int

	// began is when the scheduler took the pod up, for the attempts-th time; decide does not set them.
	began    time.Time
	attempts int

	message  string
	wakes    change
	nominate string
	victims  []*podInfo
}

// String prints a decision.
func (d decision) String() string {
	if d.node != "" {
		return fmt.Sprintf("%s -> %s", d.pod.key, d.node)
	}
	out := fmt.Sprintf("%s: %s", d.pod.key, d.message)
	if len(d.victims) > 0 {
		keys := make([]string, len(d.victims))
		for i, v := range d.victims {
			keys[i] = v.key
		}
		out += fmt.Sprintf("\n    nominate %s, evict %s", d.nominate, strings.Join(keys, " "))
	}
	return out
}

// decide finds the node for a pod. It looks at the nodes from number start on, so that in a large cluster, where it stops
// when it has seen enough that will do, each gets its turn.
func decide(cl *cluster, p *podInfo, start int) decision {
	c, all := prepare(cl, p)
	if len(cl.nodes) == 0 {
		return decision{pod: p, message: "no nodes available to schedule pods", wakes: nodeAdded}
	}
	no := refusals{all: all, nodes: map[string]verdict{}, total: len(cl.nodes)}
	if all == nil {
		feasible, looked := c.filter(start, &no)
		if len(feasible) > 0 {
			return decision{pod: p, node: c.best(feasible).name, looked: looked}
		}
	}
	d := decision{pod: p, looked: len(cl.nodes), wakes: no.wakes()}
	d.nominate, d.victims, d.message = preempt(c, &no)
	d.message = strings.TrimSuffix(no.String()+" "+d.message, " ")
	return d
}

// prepare asks every rule to look at the pod. all is not nil if one of them refuses every node.
func prepare(cl *cluster, p *podInfo) (c *cycle, all *verdict) {
	c = &cycle{cluster: cl, pod: p}
	for _, r := range rules {
		if r.prepare == nil {
			c.active = append(c.active, r)
			continue
		}
		matters, refused := r.prepare(c)
		if refused != nil {
			return c, &verdict{r, refused}
		}
		if matters {
			c.active = append(c.active, r)
		}
	}
	return c, nil
}

// check asks the rules about one node.
func (c *cycle) check(n *nodeInfo) (verdict, bool) {
	for _, r := range c.active {
		if no := r.filter(c, n); no != nil {
			return verdict{r, no}, false
		}
	}
	return verdict{}, true
}

// checkNominated asks the rules about one node, also as it will be when the pods that were promised room there, and are as
// important, have come.
func (c *cycle) checkNominated(n *nodeInfo) (verdict, bool) {
	if promised := c.promised(n); promised != nil {
		later, all := prepare(c.cluster.with(promised), c.pod)
		if all != nil {
			return *all, false
		}
		if v, ok := later.check(promised); !ok {
			return v, false
		}
	}
	return c.check(n)
}

// promised is the node with the pods nominated for it; nil if there are none that matter.
func (c *cycle) promised(n *nodeInfo) *nodeInfo {
	var with *nodeInfo
	for key, p := range c.cluster.nominated[n.name] {
		if key == c.pod.key || p.priority < c.pod.priority {
			continue
		}
		if with == nil {
			with = n.clone()
		}
		with.add(p)
	}
	return with
}

// filter returns nodes that will do: all of them in a small cluster, enough of them in a large one.
func (c *cycle) filter(start int, no *refusals) (feasible []*nodeInfo, looked int) {
	nodes := c.cluster.nodes
	enough := enoughNodes(len(nodes))
	feasible = make([]*nodeInfo, 0, enough)
	for looked < len(nodes) && len(feasible) < enough {
		n := nodes[(start+looked)%len(nodes)]
		looked++
		if v, ok := c.checkNominated(n); ok {
			feasible = append(feasible, n)
		} else {
			no.nodes[n.name] = v
		}
	}
	return feasible, looked
}

// enoughNodes is how many of n nodes are worth comparing: all up to 100, then a share that falls from 50 to 5 percent.
func enoughNodes(n int) int {
	if n <= 100 {
		return n
	}
	return max(100, n*max(50-n/125, 5)/100)
}

// best returns the node with the highest score; of several the first.
func (c *cycle) best(feasible []*nodeInfo) *nodeInfo {
	if len(feasible) == 1 {
		return feasible[0]
	}
	totals, values := make([]int64, len(feasible)), make([]int64, len(feasible))
	for _, s := range scores {
		if s.prepare != nil && !s.prepare(c, feasible) {
			continue
		}
		for i, n := range feasible {
			values[i] = s.of(c, n)
		}
		if s.normalize != nil {
			s.normalize(values)
		}
		for i := range values {
			totals[i] += s.weight * values[i]
		}
	}
	best := 0
	for i := range totals {
		if totals[i] > totals[best] {
			best = i
		}
	}
	return feasible[best]
}
