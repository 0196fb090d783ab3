package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func persistentVolume() *Kind {
	return &Kind{
		Kind: "PersistentVolume", Plural: "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"},
		Versions: []Version{typed[corev1.PersistentVolume, corev1.PersistentVolumeList]("", "v1")},
		Prefix:   "/registry/persistentvolumes",
		Strategy: Strategy{
			Default: do(func(v *corev1.PersistentVolume) {
				blank(&v.Status.Phase, corev1.VolumePending)
				blank(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
				unset(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
				roundUp(v.Spec.Capacity)
				if v.Spec.HostPath != nil {
					unset(&v.Spec.HostPath.Type, corev1.HostPathUnset)
				}
				if v.Spec.ISCSI != nil {
					blank(&v.Spec.ISCSI.ISCSIInterface, "default")
				}
			}),
			PrepareCreate: do(func(v *corev1.PersistentVolume) {
				v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
			}),
			PrepareUpdate:            doPair(func(v, old *corev1.PersistentVolume) { v.Status = old.Status }),
			Validate:                 one(validatePersistentVolume),
			ValidateUpdate:           pair(validatePersistentVolumeUpdate),
			Warnings:                 pair(persistentVolumeWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *corev1.PersistentVolume) { to.Status = from.Status }, nil)},
		Columns: []Column{
			str("Capacity", "size", func(v *corev1.PersistentVolume) string { return quantityOf(v.Spec.Capacity, corev1.ResourceStorage) }),
			str("Access Modes", "how it may be mounted", func(v *corev1.PersistentVolume) string { return accessModes(v.Spec.AccessModes) }),
			str("Reclaim Policy", "what happens when its claim is gone", func(v *corev1.PersistentVolume) string {
				return string(v.Spec.PersistentVolumeReclaimPolicy)
			}),
			str("Status", "phase", func(v *corev1.PersistentVolume) string {
				if v.DeletionTimestamp != nil {
					return "Terminating"
				}
				return string(v.Status.Phase)
			}),
			str("Claim", "claim it is bound to", func(v *corev1.PersistentVolume) string {
				if v.Spec.ClaimRef == nil {
					return ""
				}
				return v.Spec.ClaimRef.Namespace + "/" + v.Spec.ClaimRef.Name
			}),
			str("StorageClass", "class", func(v *corev1.PersistentVolume) string { return v.Spec.StorageClassName }),
			str("VolumeAttributesClass", "attributes class", func(v *corev1.PersistentVolume) string {
				return unsetString(v.Spec.VolumeAttributesClassName)
			}),
			str("Reason", "why it is in its phase", func(v *corev1.PersistentVolume) string { return v.Status.Reason }),
			age(),
			wide(str("VolumeMode", "file system or block", func(v *corev1.PersistentVolume) string {
				return unsetString((*string)(v.Spec.VolumeMode))
			})),
		},
	}
}

func unsetString(s *string) string {
	if s == nil {
		return "<unset>"
	}
	return *s
}

func quantityOf(l corev1.ResourceList, name corev1.ResourceName) string {
	q, ok := l[name]
	if !ok {
		return ""
	}
	return q.String()
}

// accessModes abbreviates, in the order of what is allowed most widely last.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		for _, have := range modes {
			if have == m.mode {
				out = append(out, m.short)
				break
			}
		}
	}
	return strings.Join(out, ",")
}
