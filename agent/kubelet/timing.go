package kubelet

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
)

// timing is how long a new pod took; guarded by worker.mu.
type timing struct {
	running bool          // it ran
	pulled  time.Duration // what pulls of its images took, until pullTo
	pullTo  time.Time
}

// pulled notes that an image was looked for from begun until now. Pulls that overlap count once.
func (w *worker) pulled(begun time.Time) {
	now := w.k.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.timing
	if begun.Before(t.pullTo) {
		begun = t.pullTo
	}
	if now.After(begun) {
		t.pulled += now.Sub(begun)
		t.pullTo = now
	}
}

// noteRunning measures a new pod's start when its status first says that it runs. Called with w.mu held.
func (w *worker) noteRunning(st *corev1.PodStatus, now time.Time) {
	t := &w.timing
	if t.running || st.Phase == corev1.PodPending {
		return
	}
	t.running = true
	if st.Phase != corev1.PodRunning || w.static || w.pod.Status.StartTime != nil && w.pod.Status.StartTime.Time.Before(w.first.Truncate(time.Second)) {
		return // it ran before this process
	}
	w.k.counts.podStart.Observe(now.Sub(w.first).Seconds())
	sli := max(0, now.Sub(w.pod.CreationTimestamp.Time)-t.pulled)
	w.k.counts.podStartSLI.Observe(sli.Seconds())
	if !w.pod.Spec.HostNetwork {
		w.k.firstPod.Do(func() { w.k.counts.firstNetworkPod.Set(sli.Seconds()) })
	}
}

// countLook counts one look at the pod, which began at a time.
func (w *worker) countLook(p plan.Plan, begun time.Time) {
	kind := "sync"
	if p.Ended {
		kind = "terminating"
	}
	w.k.counts.workers.WithLabelValues(kind).Observe(w.k.cfg.Now().Sub(begun).Seconds())
}

// countMounts counts the set-up of a pod's volumes, which are made all at once: each as long as all of them took.
func (k *Kubelet) countMounts(pod *corev1.Pod, begun time.Time, err error) {
	status := "success"
	if err != nil {
		status = "fail-unknown"
	}
	for i := range pod.Spec.Volumes {
		k.counts.storage.WithLabelValues(pluginOf(&pod.Spec.Volumes[i]), "volume_mount", status, "false").Observe(time.Since(begun).Seconds())
	}
}
