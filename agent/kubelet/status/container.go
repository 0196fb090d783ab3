package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
)

// Scheme of container IDs in the API.
const Scheme = "skiff://"

// container is the status of one container.
func (in Input) container(c *corev1.Container, init bool) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	started := false
	a := in.newest(c.Name)
	waiting, waits := in.Plan.Waiting[c.Name]
	switch {
	case a == nil:
		st.State.Waiting = in.pending()
		if waits {
			st.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waiting.Message}
		}
	case a.State == plan.Running:
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: stamp(a.StartedAt)}
		p := in.Have.Probes[a.ID]
		started = p.Started
		st.Ready = p.Ready && started
		st.Resources = c.Resources.DeepCopy()
		if a.Resources != nil {
			st.Resources.Requests, st.Resources.Limits = a.Resources.Requests, a.Resources.Limits
		}
		st.AllocatedResources = c.Resources.Requests
	case waits && in.restarts(c, a, init):
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waiting.Message}
		st.LastTerminationState.Terminated = Terminated(a)
	case a.Reset && !in.Plan.Ended:
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: plan.ReasonRestartingAll, Message: "The container was removed because all containers of the pod restart"}
		st.LastTerminationState.Terminated = Terminated(a)
	default:
		st.State.Terminated = Terminated(a)
		st.Ready = init && !isSidecar(c) && a.ExitCode == 0
	}
	st.Started = &started
	if a == nil {
		return st
	}
	in.describe(&st, c, a)
	if list := in.Have.Containers[c.Name]; st.LastTerminationState.Terminated == nil && len(list) > 1 && list[1].State == plan.Exited {
		st.LastTerminationState.Terminated = Terminated(&list[1])
	}
	return st
}

// describe fills what is known of a container once it was made.
func (in Input) describe(st *corev1.ContainerStatus, c *corev1.Container, a *plan.Attempt) {
	st.ContainerID = Scheme + a.ID
	st.RestartCount = int32(a.Attempt)
	st.ImageID = a.ImageID
	if a.Image != "" {
		st.Image = a.Image
	}
	if d, ok := in.Details[a.ID]; ok {
		if d.ImageRef != "" {
			st.ImageID = d.ImageRef
		}
		st.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: d.UID, GID: d.GID, SupplementalGroups: d.Groups}}
	}
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled && container.CanRecursiveReadOnly() {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		st.VolumeMounts = append(st.VolumeMounts, s)
	}
}

// pending is why a container that never ran does not run.
func (in Input) pending() *corev1.ContainerStateWaiting {
	if len(in.Pod.Spec.InitContainers) > 0 {
		return &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	return &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
}

// Terminated describes an attempt that ended.
func Terminated(a *plan.Attempt) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(a.ExitCode), Reason: a.Reason, Message: a.Message,
		StartedAt: stamp(a.StartedAt), FinishedAt: stamp(a.FinishedAt), ContainerID: Scheme + a.ID,
	}
	if t.Reason == "" {
		switch {
		case a.OOMKilled:
			t.Reason = "OOMKilled"
		case a.ExitCode == 0:
			t.Reason = "Completed"
		default:
			t.Reason = "Error"
		}
	}
	return t
}

// stamp is a time as the API keeps it, in seconds.
func stamp(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.NewTime(time.Unix(0, 0))
	}
	return metav1.NewTime(t.Truncate(time.Second))
}
