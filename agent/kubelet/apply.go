package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
)

// task is a step in flight, or the failure of its last tries; guarded by worker.mu.
type task struct {
	step    plan.Step
	cancel  context.CancelFunc
	running bool
	failure *plan.Failure
}

// failed is an error that carries the reason to show.
type failed struct {
	reason string
	err    error
}

func (f *failed) Error() string { return f.err.Error() }
func (f *failed) Unwrap() error { return f.err }

func because(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &failed{reason, err}
}

// apply begins the steps that are not in flight, and cancels tasks that the plan no longer names. seen are the tasks as they were when
// the plan was made: one that was in flight then and is not now has done its work unseen, and must not begin again before somebody has
// looked (it has woken the worker for that).
func (w *worker) apply(ctx context.Context, p plan.Plan, seen map[string]plan.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	named := map[string]bool{}
	for _, s := range p.Steps {
		key := s.Key()
		named[key] = true
		t := w.tasks[key]
		if t == nil {
			t = &task{}
			w.tasks[key] = t
		}
		if t.running {
			if s.Verb == plan.Kill && s.Until.Before(t.step.Until) {
				t.cancel() // begins again, with less patience
			}
			continue
		}
		if seen[key].Running {
			continue
		}
		w.begin(ctx, key, t, s)
	}
	for key, t := range w.tasks {
		if t.running && !named[key] {
			t.cancel()
		}
	}
}

// begin runs the step in a goroutine of its own. Called with w.mu held.
func (w *worker) begin(ctx context.Context, key string, t *task, s plan.Step) {
	tctx, cancel := context.WithCancel(ctx)
	t.step, t.cancel, t.running = s, cancel, true
	pod := w.grantedLocked()
	w.noteEnding(pod, s)
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		defer cancel()
		begun := time.Now()
		err := w.do(tctx, pod, s)
		w.k.cfg.Log.Debug("step", "pod", w.name(), "step", s.String(), "took", time.Since(begun), "err", err)
		w.mu.Lock()
		t.running = false
		switch {
		case err == nil:
			t.failure = nil
		case tctx.Err() != nil && errors.Is(err, context.Canceled):
		default:
			w.fail(t, pod, s, err)
		}
		w.mu.Unlock()
		w.wakeUp()
	}()
}

// fail notes the failure of a task. Called with w.mu held.
func (w *worker) fail(t *task, pod *corev1.Pod, s plan.Step, err error) {
	f := &plan.Failure{Message: err.Error(), At: w.k.cfg.Now(), Tries: 1}
	if t.failure != nil {
		f.Tries = t.failure.Tries + 1
	}
	var r *failed
	if errors.As(err, &r) {
		f.Reason = r.reason
	}
	t.failure = f
	w.k.cfg.Log.Warn("a step failed", "pod", w.name(), "step", s.String(), "tries", f.Tries, "err", err)
	switch s.Verb {
	case plan.SetUpVolumes:
		w.k.events.pod(pod, corev1.EventTypeWarning, "FailedMount", "%v", err)
	case plan.CreateSandbox, plan.Connect:
		if f.Reason == reasonPrepareResources {
			w.k.events.pod(pod, corev1.EventTypeWarning, f.Reason, "Failed to prepare dynamic resources: %v", err)
			break
		}
		if why := w.k.networkDown(); why != nil && !pod.Spec.HostNetwork {
			w.k.events.pod(pod, corev1.EventTypeWarning, "NetworkNotReady", "network is not ready: %v", why)
			break
		}
		w.k.events.pod(pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
	case plan.Resize:
		w.k.events.pod(pod, corev1.EventTypeWarning, "ResizeError", "Pod resize error: %v", err)
	case plan.Kill:
		w.k.events.pod(pod, corev1.EventTypeWarning, "FailedKillPod", "error killing pod: %v", err)
	case plan.Start:
		w.k.events.container(pod, s.Container, corev1.EventTypeWarning, "Failed", "Error: %v", err)
	}
}

// do one step.
func (w *worker) do(ctx context.Context, pod *corev1.Pod, s plan.Step) error {
	switch s.Verb {
	case plan.SetUpVolumes:
		return w.setUpVolumes(ctx, pod)
	case plan.CreateSandbox:
		return w.createSandbox(ctx, pod, s.Attempt)
	case plan.Connect:
		return w.connectSandbox(ctx, s.ID)
	case plan.Pull:
		return w.pull(ctx, pod, s.Container)
	case plan.Start:
		return w.startContainer(ctx, pod, s)
	case plan.PreStop:
		return w.preStop(ctx, pod, s)
	case plan.Kill:
		return w.kill(ctx, s)
	case plan.StopSandbox:
		return w.stopSandbox(ctx, s.ID)
	case plan.RemoveSandbox:
		return w.removeSandbox(ctx, s.ID)
	case plan.TearDown:
		return w.tearDown(pod)
	case plan.Resize:
		return w.resize(ctx, pod)
	case plan.Reset:
		return w.reset(ctx, pod)
	case plan.Delete:
		return w.delete(ctx, pod)
	}
	return fmt.Errorf("step %s: unknown verb", s)
}
