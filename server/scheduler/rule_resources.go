package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// resources: what is requested on a node stays within what it can allocate.
var resources = rule{
	name: "NodeResourcesFit", wakes: nodeAdded | nodeCapacity | podGone,
	filter: func(c *cycle, n *nodeInfo) *rejection {
		want := &c.pod.requests
		full := int64(len(n.pods))+1 > n.maxPods
		if !full && want.zero() {
			return nil
		}
		if !full && fits(want.cpu, n.requested.cpu, n.allocatable.cpu) && fits(want.memory, n.requested.memory, n.allocatable.memory) &&
			fits(want.ephemeral, n.requested.ephemeral, n.allocatable.ephemeral) && len(want.other) == 0 {
			return nil
		}
		return shortages(want, n, full)
	},
}

func fits(want, used, total int64) bool { return want == 0 || want <= total-used }

// shortages lists everything that the node has too little of.
func shortages(want *amounts, n *nodeInfo, full bool) *rejection {
	var r rejection
	if full {
		r.reasons = append(r.reasons, "Too many pods")
	}
	check := func(name corev1.ResourceName, want, used, total int64) {
		if fits(want, used, total) {
			return
		}
		r.reasons = append(r.reasons, "Insufficient "+string(name))
		r.final = r.final || want > total
	}
	check(corev1.ResourceCPU, want.cpu, n.requested.cpu, n.allocatable.cpu)
	check(corev1.ResourceMemory, want.memory, n.requested.memory, n.allocatable.memory)
	check(corev1.ResourceEphemeralStorage, want.ephemeral, n.requested.ephemeral, n.allocatable.ephemeral)
	for name, count := range want.other {
		check(name, count, n.requested.other[name], n.allocatable.other[name])
	}
	if len(r.reasons) == 0 {
		return nil
	}
	return &r
}

// scoreLeastAllocated: the larger the free share of CPU and memory, the better.
func scoreLeastAllocated(c *cycle, n *nodeInfo) int64 {
	var sum, parts int64
	for _, r := range [][3]int64{
		{n.allocatable.cpu, n.scored.cpu, c.pod.scored.cpu},
		{n.allocatable.memory, n.scored.memory, c.pod.scored.memory},
	} {
		total, used := r[0], r[1]+r[2]
		if total == 0 {
			continue
		}
		parts++
		if used <= total {
			sum += (total - used) * maxScore / total
		}
	}
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// A pod that requests neither CPU nor memory unbalances nothing.
func prepareBalanced(c *cycle, _ []*nodeInfo) bool {
	return c.pod.requests.cpu != 0 || c.pod.requests.memory != 0
}

// scoreBalanced: the more the pod brings the used shares of CPU and memory together, the better; 75 is no change.
func scoreBalanced(c *cycle, n *nodeInfo) int64 {
	with := balance(n, n.requested.cpu+c.pod.requests.cpu, n.requested.memory+c.pod.requests.memory)
	return maxScore/2 + (maxScore/2+with-balance(n, n.requested.cpu, n.requested.memory))/2
}

// balance is maxScore when the shares of CPU and memory are alike, and half of it when one is all and the other nothing.
func balance(n *nodeInfo, usedCPU, usedMemory int64) int64 {
	if n.allocatable.cpu == 0 || n.allocatable.memory == 0 {
		return maxScore
	}
	cpu := min(1, float64(usedCPU)/float64(n.allocatable.cpu))
	memory := min(1, float64(usedMemory)/float64(n.allocatable.memory))
	return int64((1 - math.Abs(cpu-memory)/2) * maxScore)
}
