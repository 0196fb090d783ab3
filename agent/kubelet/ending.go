package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/probe"
	"codeberg.org/skiff/skiff/runtime/container"
)

// noteEnding remembers how far the end of a container is. Called with w.mu held when a step begins.
func (w *worker) noteEnding(pod *corev1.Pod, s plan.Step) {
	if s.Verb != plan.PreStop && s.Verb != plan.Kill {
		return
	}
	now := w.k.cfg.Now()
	e := w.endings[s.ID]
	if e == nil {
		e = &plan.Ending{Since: now}
		w.endings[s.ID] = e
		w.k.events.container(pod, s.Container, corev1.EventTypeNormal, "Killing", "%s", s.Why)
	}
	if s.Verb == plan.Kill && e.Signalled.IsZero() {
		e.Signalled = now
	}
}

// preStop runs a container's hook. The plan cancels it when its time is over; what then comes of it is not told.
func (w *worker) preStop(ctx context.Context, pod *corev1.Pod, s plan.Step) error {
	c, _, err := findContainer(pod, s.Container)
	if err != nil {
		return err
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		err = w.hook(ctx, pod, c, s.ID, c.Lifecycle.PreStop)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		w.k.cfg.Log.Warn("preStop hook failed", "pod", w.name(), "container", c.Name, "err", err)
		w.k.events.container(pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.endings[s.ID]; e != nil {
		e.PreStopped = true
	}
	return nil
}

// kill stops the container.
func (w *worker) kill(ctx context.Context, s plan.Step) error {
	if err := w.k.cfg.Runtime.Stop(ctx, s.ID, max(0, s.Until.Sub(w.k.cfg.Now()))); err != nil {
		return fmt.Errorf("stop container %s of pod %s: %w", s.Container, w.name(), err)
	}
	return nil
}

// hook runs one lifecycle hook.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		var out probe.Output
		code, err := w.k.cfg.Runtime.Exec(ctx, id, container.ExecSpec{Args: h.Exec.Command, Stdout: &out, Stderr: &out})
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", h.Exec.Command, code, out.String())
		}
		return err
	case h.HTTPGet != nil:
		w.mu.Lock()
		ip := w.probeIP(pod)
		w.mu.Unlock()
		req, err := probe.Request(ctx, h.HTTPGet, c, ip, "kube-lifecycle/1.37")
		if err != nil {
			return err
		}
		return probe.Hook(req)
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	return errors.New("lifecycle hook without a handler")
}
