package kubelet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/container"
)

// TestPreStopOfASidecar deletes a pod whose sidecar drains: the hook begins with the deletion, runs once although the grace is shortened
// meanwhile, and the sidecar is asked to stop after the container and after its hook.
func TestPreStopOfASidecar(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.stubborn = true
	draining, drained := make(chan struct{}), make(chan struct{})
	r.rt.onExec = func(ctx context.Context, spec container.ExecSpec) {
		fmt.Fprint(spec.Stdout, strings.Repeat("endless ", 1<<20))
		close(draining)
		select {
		case <-drained:
		case <-ctx.Done():
			t.Error("the hook was cancelled")
		}
	}
	r.start()
	always := corev1.ContainerRestartPolicyAlways
	r.create(testPod("web", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "side", Image: "nginx", RestartPolicy: &always, TerminationMessagePath: "/dev/termination-log",
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"drain"}}}}}}
	}))
	r.running("web")
	r.delete("web", 3600)
	<-draining
	r.delete("web", 1800)
	r.eventually("the shorter grace is heard", func() (bool, any) {
		w := r.k.workers()[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		s := w.pod.DeletionGracePeriodSeconds
		return s != nil && *s == 1800, s
	})
	r.rt.crash("web", 0)
	r.eventually("the container's end is reported", func() (bool, any) {
		s := r.pod("web").Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Terminated != nil, s
	})
	r.rt.mu.Lock()
	if slices.Contains(r.rt.stops, "side") {
		t.Error("the sidecar was asked to stop while its hook ran")
	}
	r.rt.mu.Unlock()
	close(drained)
	r.eventually("the sidecar is asked to stop", func() (bool, any) {
		r.rt.mu.Lock()
		defer r.rt.mu.Unlock()
		return slices.Contains(r.rt.stops, "side"), r.rt.stops
	})
	r.rt.crash("side", 0)
	r.eventually("gone", func() (bool, any) { return r.pod("web") == nil, nil })
	r.rt.mu.Lock()
	defer r.rt.mu.Unlock()
	if len(r.rt.execs) != 1 {
		t.Errorf("the hook ran %d times", len(r.rt.execs))
	}
}
