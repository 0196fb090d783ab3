package kubelet

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
)

// TestRestartAllContainers: the pod begins anew in its sandbox, init containers first, and a daemon that starts in between goes on with it.
func TestRestartAllContainers(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.onStart = func(c *container.Container) {
		if c.Spec.Name == "init" {
			c.State, c.FinishedAt = container.Exited, time.Now()
		}
	}
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "nginx", ImagePullPolicy: corev1.PullIfNotPresent}}
		p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "nginx", ImagePullPolicy: corev1.PullIfNotPresent})
	}))
	r.running("web")
	sandbox := r.rt.List()[0].Spec.ID
	again := func(n int32) {
		t.Helper()
		r.eventually("all containers run again", func() (bool, any) {
			s := r.pod("web").Status
			if len(s.ContainerStatuses) != 2 || len(s.InitContainerStatuses) != 1 || condition(r.pod("web"), corev1.AllContainersRestarting) != corev1.ConditionFalse {
				return false, s
			}
			for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
				if c.RestartCount != n || !c.Ready {
					return false, s
				}
			}
			return s.Phase == corev1.PodRunning, s
		})
	}
	again(0)
	r.rt.crash("web", 42)
	again(1)
	list := r.rt.List()
	if len(list) != 1 || list[0].Spec.ID != sandbox || len(list[0].Containers) != 3 {
		t.Errorf("sandboxes %+v", list)
	}
	if last := r.pod("web").Status.ContainerStatuses[1].LastTerminationState.Terminated; last == nil || last.Reason != plan.ReasonRestartingAll {
		t.Errorf("the other one ended for %+v", last)
	}
	if last := r.pod("web").Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 42 {
		t.Errorf("the first one ended for %+v", last)
	}
	r.rt.crash("other", 1) // no rule: as its policy says
	r.eventually("it stays ended", func() (bool, any) {
		s := r.pod("web").Status
		return s.Phase == corev1.PodRunning && s.ContainerStatuses[1].State.Terminated != nil, s
	})
}
