package kubelet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/logs"
)

// startContainer starts the next attempt of a container and runs its postStart hook.
func (w *worker) startContainer(ctx context.Context, pod *corev1.Pod, s plan.Step) error {
	c, kind, err := findContainer(pod, s.Container)
	if err != nil {
		return err
	}
	w.mu.Lock()
	use, sandbox := w.images[c.Name], w.sandbox
	w.mu.Unlock()
	spec, err := w.containerSpec(ctx, pod, c, kind, s, use)
	if err != nil {
		return because("CreateContainerConfigError", err)
	}
	w.k.imageUsed(use.id)
	containerType := containerTypes[kind]
	w.k.counts.startedContainers.WithLabelValues(containerType).Inc()
	got, err := w.k.cfg.Runtime.Start(context.WithoutCancel(ctx), sandbox, spec)
	w.mu.Lock()
	delete(w.images, c.Name) // the next start asks the pull policy again
	w.mu.Unlock()
	if err != nil {
		w.k.counts.startErrs.WithLabelValues(containerType, "RunContainerError").Inc()
		if w.listed(sandbox, spec.ID) {
			w.k.events.container(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %v", err)
			w.prune(ctx, sandbox, c.Name)
			return nil // it ended before it began; back-off follows as for any that ends
		}
		return because("CreateContainerError", err)
	}
	w.k.events.container(pod, c.Name, corev1.EventTypeNormal, "Created", "Container created")
	w.k.events.container(pod, c.Name, corev1.EventTypeNormal, "Started", "Container started")
	w.linkLog(pod, c.Name, got)
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		w.markHooked(spec.ID)
	} else {
		w.postStart(ctx, pod, c, spec.ID)
	}
	w.prune(ctx, sandbox, c.Name)
	return nil
}

// containerTypes are the names that upstream's metrics have for them.
var containerTypes = [...]string{initial: "init_container", regular: "container", ephemeral: "ephemeral_container"}

func (w *worker) listed(sandbox, id string) bool {
	s, _ := w.k.cfg.Runtime.Sandbox(sandbox)
	return slices.ContainsFunc(s.Containers, func(c container.Container) bool { return c.Spec.ID == id })
}

func (w *worker) markHooked(id string) {
	w.mu.Lock()
	w.hooked[id] = true
	w.mu.Unlock()
	w.wakeUp()
}

// postStart runs the hook; the plan ends a container whose hook failed.
func (w *worker) postStart(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string) {
	err := w.hook(ctx, pod, c, id, c.Lifecycle.PostStart)
	if err != nil && ctx.Err() == nil {
		w.k.cfg.Log.Warn("postStart hook failed", "pod", w.name(), "container", c.Name, "err", err)
		w.k.events.container(pod, c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		w.mu.Lock()
		w.hookFailed[id] = true
		w.mu.Unlock()
	}
	w.markHooked(id)
}

func graceOf(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// prune forgets attempts before the last two: the newest, and the one whose end users may ask about.
func (w *worker) prune(ctx context.Context, sandbox, name string) {
	s, _ := w.k.cfg.Runtime.Sandbox(sandbox)
	var old []container.Container
	for _, c := range s.Containers {
		if c.Spec.Labels[labelContainer] == name {
			old = append(old, c)
		}
	}
	slices.SortFunc(old, func(a, b container.Container) int { return b.Spec.Attempt - a.Spec.Attempt })
	for i, c := range old {
		if i < 2 || c.State == container.Running {
			continue
		}
		if err := w.k.cfg.Runtime.Remove(context.WithoutCancel(ctx), c.Spec.ID); err != nil {
			w.k.cfg.Log.Warn("cannot remove an old container", "pod", w.name(), "container", name, "err", err)
			continue
		}
		w.mu.Lock()
		delete(w.details, c.Spec.ID)
		delete(w.messages, c.Spec.ID)
		delete(w.hooked, c.Spec.ID)
		delete(w.endings, c.Spec.ID)
		delete(w.hookFailed, c.Spec.ID)
		delete(w.actual, c.Spec.ID)
		w.mu.Unlock()
		w.k.probes.Forget(c.Spec.ID)
		if p := c.Spec.Labels[labelMessagePath]; p != "" {
			_ = removeIn(filepath.Dir(p), filepath.Base(p))
		}
		if c.Spec.LogPath != "" {
			logs.Remove(c.Spec.LogPath)
		}
	}
}

// newID is unique for ever, in the form that runtimes use.
func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
