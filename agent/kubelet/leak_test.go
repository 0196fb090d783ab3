package kubelet

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNothingIsLeftOfPods runs pods that use everything a worker keeps, deletes them, and looks at what is left in this process.
func TestNothingIsLeftOfPods(t *testing.T) {
	r := newRig(t, fakeServer())
	r.cfg.LayerUsage = func(string) (int64, int64, error) { return 1, 1, nil }
	r.start()
	edit := func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	left := func() map[string]int {
		r.k.mu.Lock()
		defer r.k.mu.Unlock()
		return map[string]int{"pods": len(r.k.pods), "mirrors": len(r.k.mirrors), "finished": len(r.k.finished), "counts of probes": len(r.k.probes.Counts())}
	}
	round := func(n int) int {
		for i := range n {
			r.create(testPod(fmt.Sprintf("p%d", i), edit))
		}
		for i := range n {
			r.running(fmt.Sprintf("p%d", i))
		}
		view{r.k}.Summary(t.Context(), false)
		for i := range n {
			r.delete(fmt.Sprintf("p%d", i), 1)
		}
		r.eventually("nothing is left", func() (bool, any) {
			for _, n := range left() {
				if n > 0 {
					return false, left()
				}
			}
			r.k.mu.Lock()
			defer r.k.mu.Unlock()
			return len(r.k.cpu) <= 3, r.k.cpu
		})
		return runtime.NumGoroutine()
	}
	before := round(2) // whatever is begun by the first pods stays
	r.eventually("goroutines end", func() (bool, any) {
		now := round(20)
		return now <= before+5, fmt.Sprintf("%d before, %d now", before, now)
	})
}
