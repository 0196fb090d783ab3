package statefulset

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// roll deletes pods that are not of the update revision, from the highest number down to the partition, while no more than maxUnavailable
// are missing. In a parallel set those that do not work anyway go at once.
func (p *plan) roll(v *view) error {
	from, allowed := 0, 1
	if r := v.set.Spec.UpdateStrategy.RollingUpdate; r != nil {
		if r.Partition != nil {
			from = int(*r.Partition)
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxUnavailable, intstr.FromInt32(1)), len(v.replicas), false)
		if err != nil {
			return fmt.Errorf("stateful set %s/%s: maxUnavailable: %w", v.set.Namespace, v.set.Name, err)
		}
		allowed = max(1, n)
	}
	for _, pod := range v.replicas {
		if v.unavailable(pod) {
			allowed--
		}
	}
	parallel := v.set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement
	for i := len(v.replicas) - 1; i >= from; i-- {
		pod := v.replicas[i]
		if v.made[pod] || pod.DeletionTimestamp != nil || pod.Labels[revisionLabel] == p.update.Name || p.removes(pod) {
			continue
		}
		if parallel && v.unavailable(pod) {
			p.remove = append(p.remove, pod)
		} else if allowed > 0 {
			p.remove = append(p.remove, pod)
			allowed--
		}
	}
	return nil
}

func (p *plan) removes(pod *corev1.Pod) bool {
	for _, other := range p.remove {
		if other == pod {
			return true
		}
	}
	return false
}
