package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
)

// reset makes the runtime forget the pod's containers, which have ended, so that the pod begins anew in its sandbox. Their logs stay. What
// asked for it goes last: should the daemon die in between, it is found again, and all begins once more.
func (w *worker) reset(ctx context.Context, pod *corev1.Pod) error {
	w.mu.Lock()
	id := w.sandbox
	w.mu.Unlock()
	s, ok := w.k.cfg.Runtime.Sandbox(id)
	if !ok {
		return errors.New("the sandbox is gone")
	}
	main := map[string]*corev1.Container{}
	each(pod, func(c *corev1.Container, k kind) {
		if k != ephemeral {
			main[c.Name] = c
		}
	})
	list := slices.DeleteFunc(s.Containers, func(c container.Container) bool { return main[c.Spec.Labels[labelContainer]] == nil })
	asked := func(c container.Container) int {
		if plan.RestartsAll(main[c.Spec.Labels[labelContainer]], c.ExitCode) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b container.Container) int { return asked(a) - asked(b) })
	w.keepReset(container.Sandbox{Spec: s.Spec, Containers: list})
	for _, c := range list {
		if err := w.k.cfg.Runtime.Remove(context.WithoutCancel(ctx), c.Spec.ID); err != nil {
			return fmt.Errorf("remove container %s: %w", c.Spec.Labels[labelContainer], err)
		}
		w.k.probes.Forget(c.Spec.ID)
		if p := c.Spec.Labels[labelMessagePath]; p != "" {
			os.Remove(p)
		}
	}
	w.mu.Lock()
	for name := range main {
		for i := range w.past[name] {
			w.past[name][i].Current, w.past[name][i].Reset = false, true
		}
	}
	w.mu.Unlock()
	return nil
}

// keepReset remembers how the containers ended that end because all of their pod restart.
func (w *worker) keepReset(s container.Sandbox) {
	w.remember(s, func(a *plan.Attempt) {
		a.Reset = true
		if a.Ending != nil {
			a.Reason, a.Message = plan.ReasonRestartingAll, "The container was ended because all containers of the pod restart"
		}
	})
}
