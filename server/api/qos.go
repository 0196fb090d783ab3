package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// PodQOS computes the quality-of-service class: Guaranteed when every container limits CPU and memory and requests as
// much, BestEffort when none asks for either, Burstable otherwise. Pod-level resources, where given, decide alone.
func PodQOS(p *corev1.Pod) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if p.Spec.Resources != nil {
		all = append(all, *p.Spec.Resources)
	} else {
		for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range cs {
				all = append(all, cs[i].Resources)
			}
		}
	}
	guaranteed, asks := len(all) > 0, false
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := positive(r.Limits, name), positive(r.Requests, name)
			asks = asks || limit != nil || request != nil
			if limit == nil || request != nil && request.Cmp(*limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func positive(l corev1.ResourceList, name corev1.ResourceName) *resource.Quantity {
	if q, ok := l[name]; ok && q.Sign() > 0 {
		return &q
	}
	return nil
}
