package scheduler

// A rule says why a pod cannot be on a node.
type rule struct {
	name string
	// wakes are the changes after which its no may be a yes.
	wakes change
	// prepare looks once at the pod and the cluster. matters is false when the rule can refuse no node; a rejection
	// refuses all of them at once.
	prepare func(*cycle) (matters bool, all *rejection)
	// filter returns nil if the pod can be on the node.
	filter func(*cycle, *nodeInfo) *rejection
}

// rejection is a no.
type rejection struct {
	reasons []string
	// final: evicting pods from the node would not help.
	final bool
}

func no(final bool, reasons ...string) *rejection { return &rejection{reasons, final} }

// rules in the order in which they are asked; the first no of a node is the one that is told.
var rules = []*rule{
	&named,
	&nodeName,
	&unschedulableNodes,
	&taints,
	&nodeAffinity,
	&hostPorts,
	&resources,
	&restrictions,
	&volumeLimits,
	&volumes,
	&volumeZone,
	&topologySpread,
	&podAffinity,
	&devices,
	&declaredFeatures,
}

// A score says how well a pod would do on a node.
type score struct {
	name   string
	weight int64
	// prepare returns false when the score is the same everywhere.
	prepare func(c *cycle, feasible []*nodeInfo) bool
	of      func(*cycle, *nodeInfo) int64
	// normalize brings all scores into 0…maxScore; nil if they are.
	normalize func([]int64)
}

const maxScore = 100

// scores and their weights.
var scores = []*score{
	{name: "TaintToleration", weight: 3, prepare: preparePreferNoSchedule, of: scorePreferNoSchedule, normalize: inverted},
	{name: "NodeAffinity", weight: 2, prepare: preparePreferredNodes, of: scorePreferredNodes, normalize: proportional},
	{name: "PodTopologySpread", weight: 2, prepare: prepareSpreadScore, of: scoreSpread, normalize: fewest},
	{name: "InterPodAffinity", weight: 2, prepare: preparePreferredPods, of: scorePreferredPods, normalize: stretched},
	{name: "LeastAllocated", weight: 1, of: scoreLeastAllocated},
	{name: "BalancedAllocation", weight: 1, prepare: prepareBalanced, of: scoreBalanced},
	{name: "ImageLocality", weight: 1, prepare: prepareImages, of: scoreImages},
}

// change is a set of things that can happen, by which a pod that found no node is tried again.
type change uint

const (
	nodeAdded change = 1 << iota
	nodeSpec         // taints, unschedulable
	nodeLabels
	nodeCapacity
	nodeFeatures
	podGone   // from a node, or it takes less of it
	podPlaced // on a node
	podLabels // of a placed pod
	namespaceLabels
	volumeChange
	claimChange // a ResourceClaim
)

// inverted: the most becomes 0, and none becomes maxScore.
func inverted(scores []int64) {
	proportional(scores)
	for i := range scores {
		scores[i] = maxScore - scores[i]
	}
}

// proportional: the most becomes maxScore.
func proportional(scores []int64) {
	var most int64
	for _, s := range scores {
		most = max(most, s)
	}
	for i := range scores {
		if most > 0 {
			scores[i] = scores[i] * maxScore / most
		}
	}
}

// stretched: the least becomes 0 and the most maxScore.
func stretched(scores []int64) {
	least, most := bounds(scores)
	for i := range scores {
		if most == least {
			scores[i] = 0
		} else {
			scores[i] = maxScore * (scores[i] - least) / (most - least)
		}
	}
}

// fewest: the least becomes maxScore; negative scores mark nodes that the score says nothing of, which get 0.
func fewest(scores []int64) {
	var known []int64
	for _, s := range scores {
		if s >= 0 {
			known = append(known, s)
		}
	}
	least, most := bounds(known)
	for i, s := range scores {
		switch {
		case s < 0:
			scores[i] = 0
		case most == 0:
			scores[i] = maxScore
		default:
			scores[i] = maxScore * (most + least - s) / most
		}
	}
}

func bounds(scores []int64) (least, most int64) {
	for i, s := range scores {
		if i == 0 {
			least, most = s, s
		}
		least, most = min(least, s), max(most, s)
	}
	return least, most
}
