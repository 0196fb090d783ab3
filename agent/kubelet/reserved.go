package kubelet

import (
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// share is what of a machine is kept from pods.
type share struct {
	pods         int64
	kube, system corev1.ResourceList
	thresholds   []eviction.Threshold
}

// capacity of the machine.
func (m machine) capacity(pods int64) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(m.cpus, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.disk, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(pods, resource.DecimalSI),
	}
	maps.Copy(out, m.hugepages)
	return out
}

// unreserved is the list less what is reserved for other things than pods.
func (s share) unreserved(list corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		out[name] = less(q, s.kube[name], s.system[name])
	}
	return out
}

// allocatable is what pods may ask for: less what is reserved, what eviction keeps free, and the memory that is set aside for huge pages.
func (s share) allocatable(capacity corev1.ResourceList) corev1.ResourceList {
	out := s.unreserved(capacity)
	keep := func(name corev1.ResourceName, signal eviction.Signal) {
		if a, ok := eviction.Hard(s.thresholds, signal); ok {
			total := capacity[name]
			out[name] = less(out[name], *resource.NewQuantity(a.Of(total.Value()), total.Format))
		}
	}
	keep(corev1.ResourceMemory, eviction.MemoryAvailable)
	keep(corev1.ResourceEphemeralStorage, eviction.NodeFsAvailable)
	for name, q := range capacity {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			out[corev1.ResourceMemory] = less(out[corev1.ResourceMemory], q)
		}
	}
	return out
}

// less subtracts, but not below zero.
func less(q resource.Quantity, parts ...resource.Quantity) resource.Quantity {
	left := q.DeepCopy()
	for _, p := range parts {
		left.Sub(p)
	}
	if left.Sign() < 0 {
		return *resource.NewQuantity(0, q.Format)
	}
	return left
}

// share of the node that is not for pods.
func (n *node) share() share {
	c := &n.k.cfg
	pods := int64(c.MaxPods)
	if c.PodsPerCore > 0 {
		pods = min(pods, int64(c.PodsPerCore)*n.machine.cpus)
	}
	return share{pods: pods, kube: c.KubeReserved, system: c.SystemReserved, thresholds: c.Thresholds}
}

// resources of the machine, and what of them pods may have.
func (n *node) resources() (capacity, allocatable corev1.ResourceList) {
	s := n.share()
	capacity = n.machine.capacity(s.pods)
	return capacity, s.allocatable(capacity)
}

// allocatable is what pods may have.
func (n *node) allocatable() corev1.ResourceList {
	_, a := n.resources()
	if obj := n.object(); obj != nil {
		for name, q := range obj.Status.Allocatable { // extended resources, which others count on the node's object
			if _, own := a[name]; !own {
				a[name] = q
			}
		}
	}
	return a
}

// enforced is what all pods together may use: the kernel holds them to it. What eviction keeps free is theirs for as long as it takes to evict.
func (n *node) enforced() corev1.ResourceList {
	all := n.machine.capacity(n.share().pods)
	all[podres.PIDs] = *resource.NewQuantity(maxPIDs(), resource.DecimalSI)
	for _, word := range n.k.cfg.Enforce {
		if word == EnforcePods {
			return n.share().unreserved(all)
		}
	}
	return all
}

// maxPIDs is how many processes the machine can have.
func maxPIDs() int64 {
	most := int64(1 << 22)
	for _, f := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		if n, err := strconv.ParseInt(readLine(f), 10, 64); err == nil && n > 0 {
			most = min(most, n)
		}
	}
	return most
}
