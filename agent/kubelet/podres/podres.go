// Package podres turns a pod's requests and limits into cgroups: the QoS tree, limits, OOM scores. It is pure.
//
//	<root>/kubepods/pod<uid>                guaranteed
//	<root>/kubepods/burstable/pod<uid>
//	<root>/kubepods/besteffort/pod<uid>
package podres

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/runtime/container"
)

const (
	quotaPeriod   = 100_000 // microseconds
	minQuota      = 1_000
	minShares     = 2
	maxShares     = 262_144
	critical      = 2_000_000_000
	guaranteedOOM = -997
)

// QOS returns the pod's quality of service class.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	if r := pod.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return class([]corev1.ResourceRequirements{*r})
	}
	var all []corev1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Resources)
	}
	return class(all)
}

func class(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	any, guaranteed := false, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := r.Limits[name], r.Requests[name]
			if !limit.IsZero() || !request.IsZero() {
				any = true
			}
			if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// Cgroup of the pod, below the runtime's root.
func Cgroup(pod *corev1.Pod) string {
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return "kubepods/pod" + string(pod.UID)
	case corev1.PodQOSBurstable:
		return "kubepods/burstable/pod" + string(pod.UID)
	}
	return "kubepods/besteffort/pod" + string(pod.UID)
}

// Shares is cpu.shares for a CPU request.
func Shares(milliCPU int64) uint64 {
	return uint64(min(max(milliCPU*1024/1000, minShares), maxShares))
}

func quota(milliCPU int64) int64 {
	if milliCPU == 0 {
		return 0
	}
	return max(milliCPU*quotaPeriod/1000, minQuota)
}

// Pod returns the limits of the pod's cgroup; pids is the limit of processes, 0 for none.
func Pod(pod *corev1.Pod, pids int64) container.Resources {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	r := container.Resources{CPUShares: Shares(requests.Cpu().MilliValue()), PIDsLimit: pids, HugepageLimit: hugepages(requests)}
	cpu, memory := true, true
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			cpu = cpu && !list[i].Resources.Limits.Cpu().IsZero()
			memory = memory && !list[i].Resources.Limits.Memory().IsZero()
		}
	}
	if l := pod.Spec.Resources; l != nil {
		cpu = cpu || !l.Limits.Cpu().IsZero()
		memory = memory || !l.Limits.Memory().IsZero()
	}
	// A pod is limited only when every container in it is.
	if cpu {
		r.CPUQuota, r.CPUPeriod = quota(limits.Cpu().MilliValue()), quotaPeriod
	}
	if memory {
		r.MemoryLimit = limits.Memory().Value()
	}
	return r
}

// limit of a container: its own, or else that of its pod, so that programs that look at their cgroup see what they have.
func limit(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	own := c.Resources.Limits[name]
	if own.IsZero() && pod.Spec.Resources != nil {
		return pod.Spec.Resources.Limits[name]
	}
	return own
}

// Container returns the limits of one container of the pod; v2 says that the node has cgroup v2 alone.
func Container(pod *corev1.Pod, c *corev1.Container, v2 bool) container.Resources {
	cpu, memory := limit(pod, c, corev1.ResourceCPU), limit(pod, c, corev1.ResourceMemory)
	request, limit := c.Resources.Requests.Cpu().MilliValue(), cpu.MilliValue()
	if _, ok := c.Resources.Requests[corev1.ResourceCPU]; !ok {
		request = limit
	}
	r := container.Resources{CPUShares: Shares(request), MemoryLimit: memory.Value()}
	if limit > 0 {
		r.CPUQuota, r.CPUPeriod = quota(limit), quotaPeriod
	}
	// A process that runs out of memory takes its container with it: half a container is no container.
	if v2 {
		r.Unified = map[string]string{"memory.oom.group": "1"}
	}
	r.HugepageLimit = hugepages(c.Resources.Limits)
	return r
}

// hugepages of a list of resources, by the kernel's names of their sizes; never nil.
func hugepages(list corev1.ResourceList) map[string]uint64 {
	out := map[string]uint64{}
	for name, q := range list {
		if size, ok := hugepage(name); ok {
			out[size] = uint64(q.Value())
		}
	}
	return out
}

// hugepage translates hugepages-2Mi to the kernel's 2MB.
func hugepage(name corev1.ResourceName) (string, bool) {
	const prefix = corev1.ResourceHugePagesPrefix
	if len(name) <= len(prefix) || string(name[:len(prefix)]) != prefix {
		return "", false
	}
	size := string(name[len(prefix):])
	if size[len(size)-1] != 'i' {
		return "", false
	}
	return size[:len(size)-1] + "B", true
}

// Critical says whether the node must keep this pod when it rejects and evicts others.
func Critical(pod *corev1.Pod, static bool) bool {
	return static || pod.Spec.Priority != nil && *pod.Spec.Priority >= critical
}

// OOMScoreAdj of a container on a node with this much memory.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, memory int64) int {
	if p := pod.Spec.Priority; p != nil && *p >= critical+1000 {
		return guaranteedOOM
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if memory <= 0 {
		return 999
	}
	// The larger the share of the node that was asked for, the later it is killed.
	request := c.Resources.Requests.Memory().Value()
	if isSidecar(pod, c) {
		request = max(request, leastRequest(pod)) // never before the containers that it serves
	}
	return int(min(max(1000-1000*(request+shareOfPod(pod))/memory, 1000+guaranteedOOM), 999))
}

// shareOfPod is what each container has of the memory that the pod asks for beyond what its containers do.
func shareOfPod(pod *corev1.Pod) int64 {
	r := pod.Spec.Resources
	if r == nil || r.Requests.Memory().IsZero() {
		return 0
	}
	asked := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	return max(0, r.Requests.Memory().Value()-asked.Memory().Value()) / int64(len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
}

func isSidecar(pod *corev1.Pod, c *corev1.Container) bool {
	for i := range pod.Spec.InitContainers {
		if s := &pod.Spec.InitContainers[i]; s.Name == c.Name {
			return s.RestartPolicy != nil && *s.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// leastRequest of memory of the pod's regular containers.
func leastRequest(pod *corev1.Pod) int64 {
	least := int64(-1)
	for i := range pod.Spec.Containers {
		if n := pod.Spec.Containers[i].Resources.Requests.Memory().Value(); least < 0 || n < least {
			least = n
		}
	}
	return max(0, least)
}
