package kubelet

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/runtime/container"
)

func amounts(cpu, memory string) corev1.ResourceRequirements {
	l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: l, Limits: l}
}

// ask changes the resources of a pod's first container, as the resize subresource does.
func (r *rig) ask(name string, want corev1.ResourceRequirements) {
	r.t.Helper()
	p := r.pod(name).DeepCopy()
	p.Spec.Containers[0].Resources = want
	p.Generation++
	if _, err := r.client.CoreV1().Pods(p.Namespace).Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) runsWith(name, cpu, memory string, restarts int32) {
	r.t.Helper()
	want := amounts(cpu, memory)
	r.eventually(name+" runs with "+cpu+" and "+memory, func() (bool, any) {
		p := r.pod(name)
		if len(p.Status.ContainerStatuses) == 0 {
			return false, p.Status
		}
		s := p.Status.ContainerStatuses[0]
		return s.Resources != nil && s.Resources.Limits.Cpu().Equal(*want.Limits.Cpu()) && s.Resources.Limits.Memory().Equal(*want.Limits.Memory()) &&
			s.AllocatedResources.Cpu().Equal(*want.Requests.Cpu()) && s.RestartCount == restarts && condition(p, corev1.PodReady) == corev1.ConditionTrue &&
			condition(p, corev1.PodResizePending) == "" && condition(p, corev1.PodResizeInProgress) == "" && p.Status.ObservedGeneration == p.Generation, p.Status
	})
}

func (r *rig) container(name string) container.Container {
	for _, s := range r.rt.List() {
		for _, c := range s.Containers {
			if c.Spec.Name == name && c.State == container.Running {
				return c
			}
		}
	}
	return container.Container{}
}

func TestResizeInPlace(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = amounts("100m", "64Mi") }))
	r.runsWith("web", "100m", "64Mi", 0)
	r.ask("web", amounts("200m", "128Mi"))
	r.runsWith("web", "200m", "128Mi", 0)
	c := r.container("web")
	if got := c.Spec.Resources; got.CPUQuota != 20_000 || got.MemoryLimit != 128<<20 {
		t.Errorf("limits %+v", got)
	}
	if got := r.rt.List()[0].Spec.Resources; got.CPUQuota != 20_000 || got.MemoryLimit != 128<<20 {
		t.Errorf("limits of the pod %+v", got)
	}
	r.ask("web", amounts("50m", "32Mi"))
	r.runsWith("web", "50m", "32Mi", 0)
	r.stop()
	r.start() // what it runs with is remembered, and restarts nothing
	r.runsWith("web", "50m", "32Mi", 0)
	if n := len(r.rt.started); n != 1 {
		t.Errorf("%d starts", n)
	}
}

func TestResizeByRestart(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Resources = amounts("100m", "64Mi")
		c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired},
			{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	}))
	r.runsWith("web", "100m", "64Mi", 0)
	r.ask("web", amounts("200m", "64Mi"))
	r.runsWith("web", "200m", "64Mi", 0)
	r.ask("web", amounts("200m", "128Mi"))
	r.runsWith("web", "200m", "128Mi", 1)
}

// TestResizeRestartsOnce: a container that comes back with more does not start before its pod has more, or it would start twice.
func TestResizeRestartsOnce(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.slow = make(chan struct{})
	r.start()
	burst := func(cpu, memory string) corev1.ResourceRequirements {
		a := amounts(cpu, memory)
		a.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("8Mi")}
		return a
	}
	r.create(testPod("web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Resources = burst("100m", "64Mi")
		c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer},
			{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	}))
	r.running("web")
	r.ask("web", burst("200m", "32Mi"))
	r.eventually("the old one has ended", func() (bool, any) { return r.container("web").Spec.ID == "", r.rt.List() })
	close(r.rt.slow)
	r.eventually("it runs with what it asked for", func() (bool, any) {
		c := r.container("web").Spec
		return c.Resources.CPUQuota == 20_000 && c.Resources.MemoryLimit == 32<<20, c
	})
	r.eventually("the status says so", func() (bool, any) {
		s := r.pod("web").Status.ContainerStatuses[0]
		return s.RestartCount == 1 && s.State.Running != nil && s.Resources.Limits.Cpu().String() == "200m", s
	})
	if r.rt.refused > 0 {
		t.Errorf("%d starts were refused", r.rt.refused)
	}
}

func TestResizeWithoutRoom(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	small := func(p *corev1.Pod) { p.Spec.Containers[0].Resources = amounts("100m", "64Mi") }
	r.create(testPod("web", small))
	r.runsWith("web", "100m", "64Mi", 0)
	r.ask("web", amounts("100000", "64Mi"))
	pending := func(reason string) {
		t.Helper()
		r.eventually("the resize is "+reason, func() (bool, any) {
			for _, c := range r.pod("web").Status.Conditions {
				if c.Type == corev1.PodResizePending {
					return c.Reason == reason, c
				}
			}
			return false, nil
		})
	}
	pending(corev1.PodReasonInfeasible)
	if s := r.pod("web").Status.ContainerStatuses[0]; s.AllocatedResources.Cpu().String() != "100m" {
		t.Errorf("granted %v", s.AllocatedResources)
	}
	all := r.k.node.allocatable()[corev1.ResourceMemory]
	most := resource.NewQuantity(all.Value()*6/10, resource.BinarySI).String()
	r.create(testPod("other", func(p *corev1.Pod) {
		p.Spec.Containers[0].Name, p.Spec.Containers[0].Resources = "other", amounts("10m", most)
	}))
	r.running("other")
	r.ask("web", amounts("100m", most))
	pending(corev1.PodReasonDeferred)
	r.delete("other", 0)
	r.runsWith("web", "100m", most, 0)
}
