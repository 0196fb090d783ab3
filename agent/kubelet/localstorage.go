package kubelet

import (
	"context"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
)

// localStorage evicts pods that have written more to the node's disk than their limits allow. Only pods with such limits are measured,
// by walking what they wrote: the kernel tells of neither. It has a goroutine of its own, so that a pod with millions of files
// holds up nothing else.
func (k *Kubelet) localStorage(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		k.evictGreedy(ctx)
	}
}

// evictGreedy ends the pods that have passed a limit.
func (k *Kubelet) evictGreedy(ctx context.Context) {
	for _, w := range k.workers() {
		w.mu.Lock()
		pod, id := w.grantedLocked(), w.sandbox
		over := w.verdict != nil || w.removed || w.torn
		w.mu.Unlock()
		if over || id == "" || !eviction.Limited(pod) {
			continue
		}
		if message, over := eviction.Exceeded(pod, k.localUse(ctx, pod, id)); over && ctx.Err() == nil {
			k.cfg.Log.Warn("evicting a pod", "pod", w.name(), "why", message)
			k.events.pod(pod, corev1.EventTypeWarning, "Evicted", "%s", message)
			now := int64(0)
			w.end(plan.Verdict{Reason: "Evicted", Message: message, Grace: &now, Disruption: corev1.PodReasonTerminationByKubelet})
		}
	}
}

// localUse measures what a pod has written to disk.
func (k *Kubelet) localUse(ctx context.Context, pod *corev1.Pod, sandbox string) eviction.Local {
	use := eviction.Local{Volumes: map[string]int64{}, Containers: map[string]int64{}}
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.Medium == corev1.StorageMediumDefault {
			name := pod.Spec.Volumes[i].Name
			use.Volumes[name] = diskUse(ctx, k.volumes.Path(pod, name)).bytes
		}
	}
	sb, _ := k.cfg.Runtime.Sandbox(sandbox)
	logged := map[string]bool{} // all attempts of a container log into one directory
	for _, c := range sb.Containers {
		name := c.Spec.Labels[labelContainer]
		if c.State == container.Running && k.cfg.LayerUsage != nil {
			if n, _, err := k.cfg.LayerUsage(c.Spec.ID); err == nil {
				use.Containers[name] += n
			}
		}
		if !logged[name] && c.Spec.LogPath != "" {
			logged[name] = true
			use.Containers[name] += k.logUse(ctx, filepath.Dir(c.Spec.LogPath)).bytes
		}
	}
	return use
}
