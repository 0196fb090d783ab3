package podres

import (
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/container"
)

// Names of the cgroups above pods.
const (
	Root       = "" // the runtime's own
	Pods       = "kubepods"
	Burstable  = "kubepods/burstable"
	BestEffort = "kubepods/besteffort"
)

// PIDs is the name of processes in a list of reserved resources.
const PIDs corev1.ResourceName = "pid"

// Groups returns the limits of the cgroups above pods. all is what pods together may have; burstable is the sum of the CPU requests of the
// burstable pods, in thousandths. Guaranteed pods stand beside the other two classes, so that each weighs what it asks for.
func Groups(all corev1.ResourceList, burstable int64) map[string]container.Resources {
	shares := Shares(all.Cpu().MilliValue())
	pids := all[PIDs]
	return map[string]container.Resources{
		// Beside the services of the machine, pods weigh as many CPUs as they may use.
		Root:       {CPUShares: shares},
		Pods:       {CPUShares: shares, MemoryLimit: all.Memory().Value(), PIDsLimit: pids.Value(), HugepageLimit: hugepages(all)},
		Burstable:  {CPUShares: Shares(burstable)},
		BestEffort: {CPUShares: minShares},
	}
}

// Reserved returns the limits of a cgroup of what is not pods; compressible leaves out what kills when it is passed.
func Reserved(list corev1.ResourceList, compressible bool) container.Resources {
	r := container.Resources{}
	if cpu, ok := list[corev1.ResourceCPU]; ok {
		r.CPUShares = Shares(cpu.MilliValue())
	}
	if !compressible {
		pids := list[PIDs]
		r.MemoryLimit, r.PIDsLimit = list.Memory().Value(), pids.Value()
	}
	return r
}
