package status

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// Input of Compute.
type Input struct {
	// Pod with the status that is known to the server.
	Pod  *corev1.Pod
	Have plan.Have
	Plan plan.Plan
	// PodIPs and HostIPs, the first family first.
	PodIPs, HostIPs []string
	// Details of containers by ID.
	Details map[string]Detail
	// Resize is how far a change of the pod's resources has come.
	Resize Resize
	Now    time.Time
}

// Resize says why resources that the pod asks for have not been granted (Pending is the reason), or why those that were granted are
// not in force everywhere (InProgress; Error is what went wrong).
type Resize struct {
	Pending, PendingMessage string
	InProgress              bool
	Error                   string
}

// Detail of a container that was made.
type Detail struct {
	// ImageRef is the image as a registry names it: name@sha256:…; or its ID.
	ImageRef string
	UID, GID int64
	Groups   []int64
}

// Compute returns the pod's status. Conditions and fields that others own are kept.
func Compute(in Input) corev1.PodStatus {
	old := in.Pod.Status
	st := corev1.PodStatus{
		ObservedGeneration: in.Pod.Generation,
		NominatedNodeName:  old.NominatedNodeName,
		QOSClass:           podres.QOS(in.Pod),
		Reason:             "",
		Resize:             old.Resize, ResourceClaimStatuses: old.ResourceClaimStatuses, ExtendedResourceClaimStatus: old.ExtendedResourceClaimStatus,
		NodeAllocatableResourceClaimStatuses: old.NodeAllocatableResourceClaimStatuses, VolumeHealth: old.VolumeHealth,
	}
	if !in.Have.StartTime.IsZero() {
		t := metav1.NewTime(in.Have.StartTime.Truncate(time.Second))
		st.StartTime = &t
	}
	if in.rejected() {
		st.Phase, st.Reason, st.Message, st.Conditions = corev1.PodFailed, in.Plan.Verdict.Reason, in.Plan.Verdict.Message, old.Conditions
		return st
	}
	addresses(&st, in)
	for i := range in.Pod.Spec.InitContainers {
		st.InitContainerStatuses = append(st.InitContainerStatuses, in.container(&in.Pod.Spec.InitContainers[i], true))
	}
	for i := range in.Pod.Spec.Containers {
		st.ContainerStatuses = append(st.ContainerStatuses, in.container(&in.Pod.Spec.Containers[i], false))
	}
	for i := range in.Pod.Spec.EphemeralContainers {
		c := corev1.Container(in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s := in.container(&c, false)
		s.Ready, s.Started = false, nil
		st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, s)
	}
	if r := in.Pod.Spec.Resources; r != nil {
		st.AllocatedResources, st.Resources = r.Requests, r
	}
	st.Phase = in.phase()
	if old.Phase == corev1.PodFailed || old.Phase == corev1.PodSucceeded {
		st.Phase, st.Reason, st.Message = old.Phase, old.Reason, old.Message
	}
	if v := in.Plan.Verdict; v != nil && st.Phase == corev1.PodFailed {
		st.Reason, st.Message = v.Reason, v.Message
	}
	st.Conditions = in.conditions(&st)
	return st
}

// rejected says whether the node never took the pod: nothing is said of its containers then, so that kubectl shows the reason. A restarted
// daemon knows it from the status.
func (in Input) rejected() bool {
	old := in.Pod.Status
	return in.Plan.Verdict != nil && (in.Plan.Verdict.Rejected || old.Phase == corev1.PodFailed && len(old.ContainerStatuses) == 0 && len(in.Have.Containers) == 0)
}

func addresses(st *corev1.PodStatus, in Input) {
	for i, ip := range in.HostIPs {
		if i == 0 {
			st.HostIP = ip
		}
		st.HostIPs = append(st.HostIPs, corev1.HostIP{IP: ip})
	}
	ips := in.PodIPs
	if in.Pod.Spec.HostNetwork && in.Have.Sandbox != nil {
		ips = in.HostIPs
	}
	for i, ip := range ips {
		if i == 0 {
			st.PodIP = ip
		}
		st.PodIPs = append(st.PodIPs, corev1.PodIP{IP: ip})
	}
}

// Equal says whether two statuses say the same.
func Equal(a, b *corev1.PodStatus) bool { return equality.Semantic.DeepEqual(a, b) }

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (in Input) newest(name string) *plan.Attempt {
	if a := in.Have.Containers[name]; len(a) > 0 {
		return &a[0]
	}
	return nil
}

// restarts says whether an ended container is going to run again.
func (in Input) restarts(c *corev1.Container, a *plan.Attempt, init bool) bool {
	if in.Plan.Ended {
		return false
	}
	if init && !isSidecar(c) && a.ExitCode == 0 {
		return false
	}
	return plan.Restarts(in.Pod, c, a.ExitCode)
}

// phase, as the API defines it.
func (in Input) phase() corev1.PodPhase {
	alive := false
	for _, list := range in.Have.Containers {
		alive = alive || len(list) > 0 && list[0].State == plan.Running
	}
	if in.Plan.Ended && !alive {
		return in.last()
	}
	never, ran := 0, 0
	for i := range in.Pod.Spec.Containers {
		if in.newest(in.Pod.Spec.Containers[i].Name) == nil {
			never++
		} else {
			ran++
		}
	}
	switch {
	case never > 0 && (ran == 0 || !in.Plan.Ended && in.Pod.Status.Phase != corev1.PodRunning):
		return corev1.PodPending
	case ran == 0:
		return corev1.PodPending
	}
	return corev1.PodRunning
}

// last is the phase of a pod of which nothing runs any more.
func (in Input) last() corev1.PodPhase {
	if in.Plan.Verdict != nil {
		return corev1.PodFailed
	}
	for i := range in.Pod.Spec.Containers {
		if a := in.newest(in.Pod.Spec.Containers[i].Name); a == nil || a.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

// initialized says whether all init containers are behind, or a container ran.
func (in Input) initialized() (ok bool, incomplete []string) {
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		a := in.newest(c.Name)
		done := a != nil && a.State == plan.Exited && a.ExitCode == 0
		if isSidecar(c) {
			done = a != nil && a.State == plan.Running && in.Have.Probes[a.ID].Started
		}
		if !done {
			incomplete = append(incomplete, c.Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		if in.newest(in.Pod.Spec.Containers[i].Name) != nil {
			return true, nil
		}
	}
	return len(incomplete) == 0, incomplete
}

// conditions in upstream's order, with those of others behind.
func (in Input) conditions(st *corev1.PodStatus) []corev1.PodCondition {
	var out []corev1.PodCondition
	add := func(c corev1.PodCondition) {
		c.ObservedGeneration = in.Pod.Generation
		out = append(out, carry(in.Pod.Status.Conditions, c, in.Now))
	}
	if v := in.Plan.Verdict; v != nil && v.Disruption != "" {
		add(corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v.Disruption, Message: cmp.Or(v.DisruptionMessage, v.Message)})
	}
	ready := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if s := in.Have.Sandbox; s != nil && s.Ready {
		ready.Status = corev1.ConditionTrue
	}
	add(ready)
	add(in.initCondition(st.Phase))
	containers := in.containersReady(st)
	add(in.readyCondition(containers))
	add(containers)
	add(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	in.resizeConditions(add)
	in.restartCondition(add)
	for _, c := range in.Pod.Status.Conditions {
		if find(out, c.Type) == nil && c.Type != corev1.PodResizePending && c.Type != corev1.PodResizeInProgress {
			out = append(out, c)
		}
	}
	return out
}

func (in Input) resizeConditions(add func(corev1.PodCondition)) {
	if in.Plan.Ended {
		return
	}
	if in.Resize.Pending != "" {
		add(corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: in.Resize.Pending, Message: in.Resize.PendingMessage})
	}
	if in.Resize.InProgress {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
		if in.Resize.Error != "" {
			c.Reason, c.Message = corev1.PodReasonError, in.Resize.Error
		}
		add(c)
	}
}

// carry keeps the time of the last transition when the status did not change.
func carry(old []corev1.PodCondition, c corev1.PodCondition, now time.Time) corev1.PodCondition {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	if o := find(old, c.Type); o != nil && o.Status == c.Status {
		c.LastTransitionTime, c.LastProbeTime = o.LastTransitionTime, o.LastProbeTime
	}
	return c
}

func find(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(list, func(c corev1.PodCondition) bool { return c.Type == t })
	if i < 0 {
		return nil
	}
	return &list[i]
}
