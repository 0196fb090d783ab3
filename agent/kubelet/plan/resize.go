package plan

import (
	corev1 "k8s.io/api/core/v1"
)

// resizable are the resources that a running container can be given more or less of.
var resizable = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// Resized says whether a container runs with other resources than it should, and whether its resizePolicy has it restarted for that.
func Resized(c *corev1.Container, a *Attempt) (differs, restart bool) {
	if a.Resources == nil {
		return false, false
	}
	for _, name := range resizable {
		if !changed(a.Resources, &c.Resources, name) {
			continue
		}
		differs = true
		for _, p := range c.ResizePolicy {
			restart = restart || p.ResourceName == name && p.RestartPolicy == corev1.RestartContainer
		}
	}
	return differs, restart
}

func changed(a, b *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	requestA, requestB, limitA, limitB := a.Requests[name], b.Requests[name], a.Limits[name], b.Limits[name]
	return requestA.Cmp(requestB) != 0 || limitA.Cmp(limitB) != 0
}

// resize asks for the limits of the pod and its running containers to be set, when they are others than granted.
func (d *decider) resize() {
	want := d.have.Sandbox != nil && d.have.Sandbox.Ready && d.have.Sandbox.Resize
	see := func(list []corev1.Container) {
		for i := range list {
			a := d.newest(list[i].Name)
			if a == nil || a.State != Running {
				continue
			}
			differs, restart := Resized(&list[i], a)
			want = want || differs && !restart
		}
	}
	see(d.pod.Spec.InitContainers)
	see(d.pod.Spec.Containers)
	if want {
		d.do(Step{Verb: Resize})
	}
}

// stoppedForResize: a container that was ended so that it comes back with other resources does come back, however it took that.
func stoppedForResize(c *corev1.Container, a *Attempt) bool {
	_, restart := Resized(c, a)
	return restart && a.Ending != nil
}
