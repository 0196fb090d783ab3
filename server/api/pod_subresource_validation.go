package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePodEphemeralContainersUpdate(p, old *corev1.Pod) fieldErrors {
	c := &check{}
	c.pod(p)
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return fieldErrors{field.Forbidden(at(""), "static pods do not support ephemeral containers")}
	}
	now := map[string]*corev1.EphemeralContainer{}
	for i := range p.Spec.EphemeralContainers {
		now[p.Spec.EphemeralContainers[i].Name] = &p.Spec.EphemeralContainers[i]
	}
	for _, o := range old.Spec.EphemeralContainers {
		path := at("spec", "ephemeralContainers")
		if n := now[o.Name]; n == nil {
			c.forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", o.Name))
		} else if !apiequality.Semantic.DeepEqual(o, *n) {
			c.forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", o.Name, diff.Diff(o, *n)))
		}
	}
	return c.errs
}

// validatePodResize: Inject has taken over nothing but resources.
func validatePodResize(p, old *corev1.Pod) fieldErrors {
	c := &check{}
	c.pod(p)
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return fieldErrors{field.Forbidden(at(""), "static pods cannot be resized")}
	}
	if was := PodQOS(old); PodQOS(p) != was {
		c.invalid(at("spec"), PodQOS(p), "Pod QOS Class may not change as a result of resizing")
	}
	for i := range p.Spec.Containers {
		now, before := &p.Spec.Containers[i], old.Spec.Containers[i]
		path := at("spec", "containers").Index(i)
		if !apiequality.Semantic.DeepEqual(now.ResizePolicy, before.ResizePolicy) || !onlyCPUAndMemory(now.Resources, before.Resources) {
			c.forbidden(at("spec"), "only cpu and memory resources are mutable")
		}
		for _, kind := range []struct {
			name     string
			now, old corev1.ResourceList
		}{{"requests", now.Resources.Requests, before.Resources.Requests}, {"limits", now.Resources.Limits, before.Resources.Limits}} {
			for n := range kind.old {
				if _, ok := kind.now[n]; !ok {
					c.forbidden(path.Child("resources", kind.name), "resource "+kind.name+" cannot be removed")
					break
				}
			}
		}
	}
	return c.errs
}

func onlyCPUAndMemory(now, old corev1.ResourceRequirements) bool {
	strip := func(l corev1.ResourceList) corev1.ResourceList {
		l = l.DeepCopy()
		delete(l, corev1.ResourceCPU)
		delete(l, corev1.ResourceMemory)
		return l
	}
	return apiequality.Semantic.DeepEqual(strip(now.Limits), strip(old.Limits)) &&
		apiequality.Semantic.DeepEqual(strip(now.Requests), strip(old.Requests)) &&
		apiequality.Semantic.DeepEqual(now.Claims, old.Claims)
}
