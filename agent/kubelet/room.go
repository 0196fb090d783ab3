package kubelet

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// shortage of one resource: CPU in thousandths, everything else in units.
type shortage struct {
	name                      corev1.ResourceName
	requested, used, capacity int64
}

func (s shortage) String() string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.name, s.requested, s.used, s.capacity)
}

func (s shortage) verdict() *plan.Verdict { return reject("OutOf"+string(s.name), "%s", s) }

// shortages lists what the node has too little of for a pod beside others; full is set when it has as many pods as it may. An extended
// resource that the node does not list is the cluster's, and not for the node to count (as upstream has it).
func shortages(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) (short []shortage, full *shortage) {
	if most, ok := allocatable[corev1.ResourcePods]; ok && int64(len(others)) >= most.Value() {
		full = &shortage{corev1.ResourcePods, 1, int64(len(others)), most.Value()}
	}
	want, used := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), map[corev1.ResourceName]int64{}
	for _, o := range others {
		for name, q := range resourcehelper.PodRequests(o, resourcehelper.PodResourcesOptions{}) {
			used[name] += amount(name, q)
		}
	}
	for _, name := range inOrder(want) {
		q, have := want[name], allocatable[name]
		if _, known := allocatable[name]; q.IsZero() || !known && !isHugePages(name) {
			continue
		}
		s := shortage{name, amount(name, q), used[name], amount(name, have)}
		if s.used+s.requested > s.capacity {
			short = append(short, s)
		}
	}
	return short, full
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// inOrder: cpu, memory and disk first, as upstream looks at them; then by name.
func inOrder(list corev1.ResourceList) []corev1.ResourceName {
	first := []corev1.ResourceName{corev1.ResourceEphemeralStorage, corev1.ResourceMemory, corev1.ResourceCPU}
	names := slices.Collect(maps.Keys(list))
	slices.SortFunc(names, func(a, b corev1.ResourceName) int {
		if d := slices.Index(first, b) - slices.Index(first, a); d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	return names
}

func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// lacks is what is still needed, by resource.
type lacks map[corev1.ResourceName]int64

// without returns what is needed when these pods are gone.
func (l lacks) without(pods ...*corev1.Pod) lacks {
	out := lacks{}
	for name, n := range l {
		for _, p := range pods {
			n -= requestOf(p, name)
		}
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

// distance of a pod from what is needed: how much of each would still be missing, squared.
func (l lacks) distance(pod *corev1.Pod) (d float64) {
	for name, n := range l {
		if left := n - requestOf(pod, name); left > 0 {
			d += math.Pow(float64(left)/float64(n), 2)
		}
	}
	return d
}

func (l lacks) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(&b, "(res: %v, q: %d), ", name, l[name])
	}
	return "[" + b.String() + "]"
}

func requestOf(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	return amount(name, resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[name])
}

// preempt chooses the pods that go so that a critical one has room: few of them, best-effort before burstable before guaranteed. Static pods
// are told by statics, not by an annotation, which anybody can write.
func preempt(pod *corev1.Pod, others []*corev1.Pod, statics map[types.UID]bool, short []shortage) ([]*corev1.Pod, error) {
	need := lacks{}
	for _, s := range short {
		need[s.name] = s.requested - (s.capacity - s.used)
	}
	classes := map[corev1.PodQOSClass][]*corev1.Pod{}
	for _, o := range others {
		if preemptable(pod, o, statics) {
			classes[podres.QOS(o)] = append(classes[podres.QOS(o)], o)
		}
	}
	best, burst, sure := classes[corev1.PodQOSBestEffort], classes[corev1.PodQOSBurstable], classes[corev1.PodQOSGuaranteed]
	if left := need.without(slices.Concat(best, burst, sure)...); len(left) > 0 {
		return nil, fmt.Errorf("no set of running pods found to reclaim resources: %v", left)
	}
	// Of each class only what the classes before it cannot give.
	guaranteed := nearest(sure, need.without(slices.Concat(best, burst)...))
	burstable := nearest(burst, need.without(slices.Concat(best, guaranteed)...))
	bestEffort := nearest(best, need.without(slices.Concat(burstable, guaranteed)...))
	return slices.Concat(bestEffort, burstable, guaranteed), nil
}

// preemptable: a critical pod may end those that are not, and one of a higher priority those of a lower.
func preemptable(pod, other *corev1.Pod, statics map[types.UID]bool) bool {
	if podres.Critical(pod, statics[pod.UID]) && !podres.Critical(other, statics[other.UID]) {
		return true
	}
	return pod.Spec.Priority != nil && other.Spec.Priority != nil && *pod.Spec.Priority > *other.Spec.Priority
}

// nearest takes the pods one by one that leave the least missing; of two alike the smaller.
func nearest(pods []*corev1.Pod, need lacks) (out []*corev1.Pod) {
	pods = slices.Clone(pods)
	for len(need) > 0 && len(pods) > 0 {
		best := slices.MinFunc(pods, func(a, b *corev1.Pod) int {
			if d := need.distance(a) - need.distance(b); d != 0 {
				return int(math.Copysign(1, d))
			}
			for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
				if d := requestOf(a, name) - requestOf(b, name); d != 0 {
					return int(max(min(d, 1), -1))
				}
			}
			return strings.Compare(string(a.UID), string(b.UID))
		})
		need, out = need.without(best), append(out, best)
		pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p == best })
	}
	return out
}
