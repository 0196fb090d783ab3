package kubelet

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNotRunning: who wants to exec in a container that does not run hears why.
func TestNotRunning(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
		{Name: "loops", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s restarting failed container"}}},
		{Name: "waits", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}},
		{Name: "ended", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}},
	}}}
	for name, want := range map[string]string{"loops": "CrashLoopBackOff: back-off 10s restarting failed container", "waits": "PodInitializing",
		"ended": "it has ended (Completed, exit code 0)", "new": "ContainerCreating"} {
		if got := notRunning(pod, name); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
}
