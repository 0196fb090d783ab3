// Package podres turns a pod's requests and limits into cgroups: the QoS tree, limits, OOM scores. It is pure.
//
//	<root>/kubepods/pod<uid>                guaranteed
//	<root>/kubepods/burstable/pod<uid>
//	<root>/kubepods/besteffort/pod<uid>
package podres

import (
	corev1 "k8s.io/api/core/v1"
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

// Container returns the limits of one container; v2 says that the node has cgroup v2 alone.
func Container(c *corev1.Container, v2 bool) container.Resources {
	request, limit := c.Resources.Requests.Cpu().MilliValue(), c.Resources.Limits.Cpu().MilliValue()
	if _, ok := c.Resources.Requests[corev1.ResourceCPU]; !ok {
		request = limit
	}
	r := container.Resources{CPUShares: Shares(request), MemoryLimit: c.Resources.Limits.Memory().Value()}
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
	return int(min(max(1000-1000*c.Resources.Requests.Memory().Value()/memory, 1000+guaranteedOOM), 999))
}
