package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Local is what a pod uses of the node's disk, in bytes.
type Local struct {
	// Volumes are emptyDir volumes on disk by name; Containers are writable layers and logs by container name.
	Volumes, Containers map[string]int64
}

// Limited says whether a pod has limits of local storage, so that its use has to be measured.
func Limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if sizeLimit(&pod.Spec.Volumes[i]) != nil {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if !pod.Spec.Containers[i].Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// sizeLimit of a volume on disk; nil if it has none. One in memory is bounded by the kernel.
func sizeLimit(v *corev1.Volume) *resource.Quantity {
	if e := v.EmptyDir; e != nil && e.Medium == corev1.StorageMediumDefault && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
		return e.SizeLimit
	}
	return nil
}

// Exceeded says which limit of local storage a pod has passed: that of a volume, of all its containers together, of one container.
func Exceeded(pod *corev1.Pod, use Local) (message string, over bool) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if limit := sizeLimit(v); limit != nil && use.Volumes[v.Name] > limit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit.String()), true
		}
	}
	total, limits, all := int64(0), resource.Quantity{}, true
	for _, n := range use.Volumes {
		total += n
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		total += use.Containers[c.Name]
		limit := c.Resources.Limits.StorageEphemeral()
		all = all && !limit.IsZero()
		limits.Add(*limit)
	}
	if all && !limits.IsZero() && total > limits.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limits.String()), true
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if limit := c.Resources.Limits.StorageEphemeral(); !limit.IsZero() && use.Containers[c.Name] > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String()), true
		}
	}
	return "", false
}
