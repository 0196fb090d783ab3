package api

import (
	corev1 "k8s.io/api/core/v1"
)

func persistentVolumeClaim() *Kind {
	return &Kind{
		Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"}, Namespaced: true,
		Versions: []Version{typed[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList]("", "v1")},
		Prefix:   "/registry/persistentvolumeclaims",
		Strategy: Strategy{
			Default: do(defaultClaim),
			PrepareCreate: do(func(c *corev1.PersistentVolumeClaim) {
				c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			}),
			PrepareUpdate:            doPair(func(c, old *corev1.PersistentVolumeClaim) { c.Status = old.Status }),
			Validate:                 one(validateClaim),
			ValidateUpdate:           pair(validateClaimUpdate),
			Warnings:                 pair(persistentVolumeClaimWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *corev1.PersistentVolumeClaim) { to.Status = from.Status }, nil)},
		Columns: []Column{
			str("Status", "phase", func(c *corev1.PersistentVolumeClaim) string {
				if c.DeletionTimestamp != nil {
					return "Terminating"
				}
				return string(c.Status.Phase)
			}),
			str("Volume", "volume it is bound to", func(c *corev1.PersistentVolumeClaim) string { return c.Spec.VolumeName }),
			str("Capacity", "size of the volume", func(c *corev1.PersistentVolumeClaim) string {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return quantityOf(c.Status.Capacity, corev1.ResourceStorage)
			}),
			str("Access Modes", "how the volume may be mounted", func(c *corev1.PersistentVolumeClaim) string {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return accessModes(c.Status.AccessModes)
			}),
			str("StorageClass", "class", func(c *corev1.PersistentVolumeClaim) string {
				if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
					return class
				}
				return deref(c.Spec.StorageClassName)
			}),
			str("VolumeAttributesClass", "attributes class", func(c *corev1.PersistentVolumeClaim) string {
				return unsetString(c.Spec.VolumeAttributesClassName)
			}),
			age(),
			wide(str("VolumeMode", "file system or block", func(c *corev1.PersistentVolumeClaim) string {
				return unsetString((*string)(c.Spec.VolumeMode))
			})),
		},
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	blank(&c.Status.Phase, corev1.ClaimPending)
	defaultClaimSpec(&c.Spec)
	roundUp(c.Status.Capacity)
	roundUp(c.Status.AllocatedResources)
}

func defaultClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	unset(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(s.Resources.Limits)
	roundUp(s.Resources.Requests)
}
