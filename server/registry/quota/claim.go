package quota

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

// storageClassInfix stands between a storage class and what claims of it may use: gold.storageclass.storage.k8s.io/requests.storage.
const storageClassInfix = ".storageclass.storage.k8s.io/"

func addVolumeClaim(usage corev1.ResourceList, obj runtime.Object) {
	c, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	class := storageClass(c)
	add := func(name corev1.ResourceName, amount resource.Quantity) {
		usage[name] = amount
		if class != "" {
			usage[corev1.ResourceName(class)+storageClassInfix+name] = amount
		}
	}
	add(corev1.ResourcePersistentVolumeClaims, count(1))
	if size, ok := claimSize(c); ok {
		add(corev1.ResourceRequestsStorage, size)
	}
}

func storageClass(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}

// claimSize is what a claim asks for in whole bytes, or what was set aside for it if that is more: a claim whose growth
// failed and that asks for less again is charged for the larger volume until that is settled.
func claimSize(c *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return size, false
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	if set, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && set.Cmp(size) > 0 {
		size = set.DeepCopy()
		size.RoundUp(0)
	}
	return size, true
}

// attributesClasses are the VolumeAttributesClasses that a claim has, wants or is on the way to.
func attributesClasses(c *corev1.PersistentVolumeClaim) (names []string) {
	for _, name := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		names = append(names, m.TargetVolumeAttributesClassName)
	}
	return names
}
