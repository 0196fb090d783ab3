package api

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func podColumns() []Column {
	return []Column{
		str("Ready", "containers that are ready, of how many", func(p *corev1.Pod) string {
			v := viewPod(p)
			return fmt.Sprintf("%d/%d", v.ready, v.total)
		}),
		str("Status", "what the pod is doing, or what keeps it from doing it", func(p *corev1.Pod) string { return viewPod(p).status }),
		col("Restarts", "string", "how often containers were restarted, and when last", func(p *corev1.Pod, now time.Time) any {
			v := viewPod(p)
			if v.restarts == 0 || v.lastRestart.IsZero() {
				return fmt.Sprint(v.restarts)
			}
			return fmt.Sprintf("%d (%s ago)", v.restarts, since(v.lastRestart, now))
		}),
		age(),
		wide(str("IP", "address of the pod", func(p *corev1.Pod) string {
			if len(p.Status.PodIPs) == 0 {
				return "<none>"
			}
			return orNone(p.Status.PodIPs[0].IP)
		})),
		wide(str("Node", "node the pod is on", func(p *corev1.Pod) string { return orNone(p.Spec.NodeName) })),
		wide(str("Nominated Node", "node that preemption makes room on", func(p *corev1.Pod) string { return orNone(p.Status.NominatedNodeName) })),
		wide(str("Readiness Gates", "readiness gates that are true, of how many", readinessGates)),
	}
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	open := 0
	for _, g := range p.Spec.ReadinessGates {
		if podCondition(p, g.ConditionType) == corev1.ConditionTrue {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

// podView is what `kubectl get pods` says about a pod.
type podView struct {
	ready, total int
	restarts     int32
	lastRestart  time.Time
	status       string
}

// viewPod sums a pod up as upstream does: the phase or its reason, overruled by the first init container that is not
// done, else by the first container that waits or ended, else by deletion.
func viewPod(p *corev1.Pod) podView {
	v := podView{total: len(p.Spec.Containers), status: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		v.status = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			v.status = c.Reason
		}
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if isSidecar(&c) {
			sidecars[c.Name] = true
			v.total++
		}
	}
	initializing, sidecarsView := v.init(p, sidecars)
	if !initializing || podCondition(p, corev1.PodInitialized) == corev1.ConditionTrue {
		v.restarts, v.lastRestart = sidecarsView.restarts, sidecarsView.lastRestart
		v.run(p)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			v.status = "Unknown"
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			v.status = "Terminating"
		}
	}
	return v
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (v *podView) restarted(c *corev1.ContainerStatus) {
	v.restarts += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && v.lastRestart.Before(t.FinishedAt.Time) {
		v.lastRestart = t.FinishedAt.Time
	}
}

// init looks at the init containers, up to the first that is still to be waited for; the second result has the
// restarts of the sidecars alone.
func (v *podView) init(p *corev1.Pod, sidecars map[string]bool) (initializing bool, side podView) {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		v.restarted(c)
		if sidecars[c.Name] {
			side.restarted(c)
		}
		ended, waits := c.State.Terminated, c.State.Waiting
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && deref(c.Started):
			if c.Ready {
				v.ready++
			}
			continue
		case ended != nil:
			v.status = "Init:" + endReason(ended)
		case waits != nil && waits.Reason != "" && waits.Reason != "PodInitializing":
			v.status = "Init:" + waits.Reason
		default:
			v.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true, side
	}
	return false, side
}

// run looks at the containers; the first one's reason wins, so it goes through them backwards.
func (v *podView) run(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		v.restarted(c)
		switch ended, waits := c.State.Terminated, c.State.Waiting; {
		case waits != nil && waits.Reason != "":
			v.status = waits.Reason
		case ended != nil:
			v.status = endReason(ended)
			if ended.ExitCode != 0 {
				failure = v.status
			}
		case c.Ready && c.State.Running != nil:
			running = true
			v.ready++
		}
	}
	if v.status != "Completed" {
		return
	}
	switch {
	case running && podCondition(p, corev1.PodReady) == corev1.ConditionTrue:
		v.status = "Running"
	case failure != "":
		v.status = failure
	case running:
		v.status = "NotReady"
	}
}

func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
