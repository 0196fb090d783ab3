package podres

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/runtime/container"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func with(requests, limits corev1.ResourceList) corev1.Container {
	return corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
}

func TestPodAndContainer(t *testing.T) {
	for name, c := range map[string]struct {
		spec           corev1.PodSpec
		pod, container container.Resources
	}{
		"best effort": {corev1.PodSpec{Containers: []corev1.Container{with(nil, nil)}},
			container.Resources{CPUShares: 2}, container.Resources{CPUShares: 2}},
		"burstable": {corev1.PodSpec{Containers: []corev1.Container{with(list("cpu", "500m", "memory", "64Mi"), nil)}},
			container.Resources{CPUShares: 512}, container.Resources{CPUShares: 512}},
		"limited": {corev1.PodSpec{Containers: []corev1.Container{with(nil, list("cpu", "2", "memory", "64Mi"))}},
			container.Resources{CPUShares: 2, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20},
			container.Resources{CPUShares: 2048, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}},
		"an init container without a limit": {corev1.PodSpec{InitContainers: []corev1.Container{with(nil, nil)}, Containers: []corev1.Container{with(list("cpu", "1"), list("cpu", "2", "memory", "64Mi"))}},
			container.Resources{CPUShares: 1024},
			container.Resources{CPUShares: 1024, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}},
		"limits of the pod": {corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "2", "memory", "64Mi")}, Containers: []corev1.Container{with(nil, nil)}},
			container.Resources{CPUShares: 1024, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20},
			container.Resources{CPUShares: 2048, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}},
	} {
		pod := &corev1.Pod{Spec: c.spec}
		check := func(what string, got, want container.Resources) {
			t.Helper()
			if got.HugepageLimit == nil {
				t.Errorf("%s: %s may have huge pages", name, what)
			}
			got.HugepageLimit = nil
			if got.CPUShares != want.CPUShares || got.CPUQuota != want.CPUQuota || got.CPUPeriod != want.CPUPeriod && want.CPUQuota > 0 || got.MemoryLimit != want.MemoryLimit {
				t.Errorf("%s: %s %+v, want %+v", name, what, got, want)
			}
		}
		check("pod", Pod(pod, 0), c.pod)
		check("container", Container(pod, &pod.Spec.Containers[0], false), c.container)
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{with(nil, list("hugepages-2Mi", "4Mi", "memory", "1Gi"))}}}
	if got := Container(pod, &pod.Spec.Containers[0], true).HugepageLimit["2MB"]; got != 4<<20 {
		t.Errorf("huge pages: %d", got)
	}
}

func TestGroups(t *testing.T) {
	got := Groups(list("cpu", "1750m", "memory", "1Gi", "pid", "1000", "hugepages-2Mi", "64Mi"), 300)
	if p := got[Pods]; p.CPUShares != 1792 || p.MemoryLimit != 1<<30 || p.PIDsLimit != 1000 || p.HugepageLimit["2MB"] != 64<<20 {
		t.Errorf("pods: %+v", p)
	}
	if got[Burstable].CPUShares != 307 || got[BestEffort].CPUShares != 2 || got[Root].CPUShares != 1792 || got[Root].MemoryLimit != 0 || got[BestEffort].MemoryLimit != 0 {
		t.Errorf("%+v", got)
	}
	if got := Groups(nil, 0); got[Burstable].CPUShares != 2 {
		t.Errorf("without burstable pods: %+v", got[Burstable])
	}
}

func TestOOMScore(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	side := with(nil, nil)
	side.Name, side.RestartPolicy = "side", &always
	main := with(list("memory", "100Mi"), nil)
	pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{side}, Containers: []corev1.Container{main}}}
	if got := OOMScoreAdj(pod, &main, 1000<<20); got != 900 {
		t.Errorf("container: %d", got)
	}
	if got := OOMScoreAdj(pod, &side, 1000<<20); got != 900 {
		t.Errorf("its sidecar would go before it: %d", got)
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list("memory", "500Mi")}
	if got := OOMScoreAdj(pod, &main, 1000<<20); got != 700 { // 100 and half of what is left
		t.Errorf("of a pod that asks for more: %d", got)
	}
}
