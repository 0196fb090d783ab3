package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// amounts of resources: milli-cores, bytes, and counts of extended resources and hugepages.
type amounts struct {
	cpu, memory, ephemeral int64
	other                  map[corev1.ResourceName]int64
}

func amountsOf(list corev1.ResourceList) amounts {
	var a amounts
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			a.cpu = quantity.MilliValue()
		case corev1.ResourceMemory:
			a.memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			a.ephemeral = quantity.Value()
		case corev1.ResourcePods:
		default:
			if a.other == nil {
				a.other = map[corev1.ResourceName]int64{}
			}
			a.other[name] = quantity.Value()
		}
	}
	return a
}

// add adds b times sign.
func (a *amounts) add(b amounts, sign int64) {
	a.cpu += sign * b.cpu
	a.memory += sign * b.memory
	a.ephemeral += sign * b.ephemeral
	for name, n := range b.other {
		if a.other == nil {
			a.other = map[corev1.ResourceName]int64{}
		}
		if a.other[name] += sign * n; a.other[name] == 0 {
			delete(a.other, name)
		}
	}
}

func (a amounts) clone() amounts {
	a.other = maps.Clone(a.other)
	return a
}

func (a amounts) zero() bool {
	return a.cpu == 0 && a.memory == 0 && a.ephemeral == 0 && len(a.other) == 0
}

// less says whether a needs less than b of anything.
func (a amounts) less(b amounts) bool {
	if a.cpu < b.cpu || a.memory < b.memory || a.ephemeral < b.ephemeral {
		return true
	}
	for name, n := range b.other {
		if a.other[name] < n {
			return true
		}
	}
	return false
}

// A container that requests no CPU or memory is scored as if it requested this, so that such pods spread too.
var unrequested = corev1.ResourceList{
	corev1.ResourceCPU:    resource.MustParse("100m"),
	corev1.ResourceMemory: *resource.NewQuantity(200<<20, resource.BinarySI),
}

// requestsOf is what a pod takes of a node: containers, init containers and sidecars by their rules, and the overhead; and
// the same for scoring. What a running pod was given counts, not only what it now asks for.
func requestsOf(pod *corev1.Pod) (requests, scored amounts) {
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	requests = amountsOf(resourcehelper.PodRequests(pod, opts))
	opts.NonMissingContainerRequests = unrequested
	scored = amountsOf(resourcehelper.PodRequests(pod, opts))
	return requests, scored
}
