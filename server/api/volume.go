package api

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// defaultVolume fills in a volume; one that names no source is an empty directory.
func defaultVolume(v *corev1.Volume) {
	if reflect.ValueOf(v.VolumeSource).IsZero() {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case v.HostPath != nil:
		unset(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Secret != nil:
		unset(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case v.ConfigMap != nil:
		unset(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case v.DownwardAPI != nil:
		unset(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardItems(v.DownwardAPI.Items)
	case v.Projected != nil:
		unset(&v.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if s.DownwardAPI != nil {
				defaultDownwardItems(s.DownwardAPI.Items)
			}
			if s.ServiceAccountToken != nil {
				unset(&s.ServiceAccountToken.ExpirationSeconds, int64(60*60))
			}
		}
	case v.ISCSI != nil:
		blank(&v.ISCSI.ISCSIInterface, "default")
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		defaultClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	case v.Image != nil:
		blank(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	case v.AzureDisk != nil:
		d := v.AzureDisk
		unset(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		unset(&d.Kind, corev1.AzureSharedBlobDisk)
		unset(&d.FSType, "ext4")
		unset(&d.ReadOnly, false)
	case v.RBD != nil:
		blank(&v.RBD.RBDPool, "rbd")
		blank(&v.RBD.RadosUser, "admin")
		blank(&v.RBD.Keyring, "/etc/ceph/keyring")
	case v.ScaleIO != nil:
		blank(&v.ScaleIO.StorageMode, "ThinProvisioned")
		blank(&v.ScaleIO.FSType, "xfs")
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}
