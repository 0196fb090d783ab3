package kubelet

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// TestClassesWeighWhatTheyAskFor: best-effort pods together weigh next to nothing, burstable ones the sum of their requests, and all pods
// have what is not reserved.
func TestClassesWeighWhatTheyAskFor(t *testing.T) {
	r := newRig(t, fakeServer())
	r.cfg.SystemReserved = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), podres.PIDs: resource.MustParse("1000")}
	r.start()
	shares := func(group string, want uint64) {
		t.Helper()
		r.eventually(group, func() (bool, any) {
			r.rt.mu.Lock()
			defer r.rt.mu.Unlock()
			return r.rt.groups[group].CPUShares == want, r.rt.groups
		})
	}
	shares(podres.BestEffort, 2)
	shares(podres.Burstable, 2)
	burstable := func(cpu string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		}
	}
	r.create(testPod("a", burstable("500m")))
	r.create(testPod("b", burstable("250m")))
	r.create(testPod("c", nil))
	r.running("a")
	r.running("b")
	r.running("c")
	shares(podres.Burstable, 768)
	r.delete("a", 1)
	shares(podres.Burstable, 256)
	r.rt.mu.Lock()
	defer r.rt.mu.Unlock()
	pods := r.rt.groups[podres.Pods]
	if total := meminfo()["MemTotal"]; pods.MemoryLimit != total-64<<20 || pods.PIDsLimit != maxPIDs()-1000 || pods.CPUShares < 1024 || pods.CPUShares != r.rt.groups[podres.Root].CPUShares {
		t.Errorf("pods together: %+v of %d bytes", pods, total)
	}
	if n := r.rt.groupWrites; n > 4+4 {
		t.Errorf("cgroups were written %d times for four changes", n)
	}
}

func TestShare(t *testing.T) {
	th, _ := eviction.Thresholds(map[string]string{"memory.available": "100Mi", "nodefs.available": "10%"}, nil, nil, nil)
	m := machine{cpus: 2, memory: 2 << 30, disk: 100 << 30, hugepages: corev1.ResourceList{"hugepages-2Mi": resource.MustParse("64Mi")}}
	s := share{pods: 110, thresholds: th, kube: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		system: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("150m"), corev1.ResourceMemory: resource.MustParse("200Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("200Gi")}}
	capacity := m.capacity(s.pods)
	got := s.allocatable(capacity)
	for name, want := range map[corev1.ResourceName]string{corev1.ResourceCPU: "1750m", corev1.ResourceMemory: "1684Mi", corev1.ResourceEphemeralStorage: "0", corev1.ResourcePods: "110", "hugepages-2Mi": "64Mi"} {
		if q := got[name]; q.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("%s: %s, want %s", name, q.String(), want)
		}
	}
	if q := s.unreserved(capacity)[corev1.ResourceMemory]; q.Cmp(resource.MustParse("1848Mi")) != 0 {
		t.Errorf("what the kernel holds pods to is %s: eviction needs room to act", q.String())
	}
}
