package podrefs

import (
	corev1 "k8s.io/api/core/v1"
)

func ofVolumes(pod *corev1.Pod, yield func(Ref) bool) bool {
	for i := range pod.Spec.Volumes {
		if !ofVolume(pod, &pod.Spec.Volumes[i], yield) {
			return false
		}
	}
	return true
}

// ClaimName is the PersistentVolumeClaim behind a volume of a pod, "" if there is none.
func ClaimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

func ofVolume(pod *corev1.Pod, v *corev1.Volume, yield func(Ref) bool) bool {
	if ok, known := ofObjects(pod, v, yield); known {
		return ok
	}
	if name, field, known := volumeSecret(&v.VolumeSource); known {
		return named(yield, Secrets, name, field, true)
	}
	return plainVolume(&v.VolumeSource) || yield(Ref{Resource: Unknown, Name: v.Name, Field: "spec.volumes[]"})
}

// ofObjects yields what volumes refer to that are made of objects. An empty name is yielded too: whatever it leads to, it is one.
func ofObjects(pod *corev1.Pod, v *corev1.Volume, yield func(Ref) bool) (ok, known bool) {
	switch {
	case v.Secret != nil:
		return yield(Ref{Secrets, v.Secret.SecretName, "spec.volumes[].secret", true}), true
	case v.ConfigMap != nil:
		return yield(Ref{ConfigMaps, v.ConfigMap.Name, "spec.volumes[].configMap", true}), true
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if !ofProjection(pod, &v.Projected.Sources[i], yield) {
				return false, true
			}
		}
		return true, true
	case v.PersistentVolumeClaim != nil:
		return yield(Ref{PersistentVolumeClaims, v.PersistentVolumeClaim.ClaimName, "spec.volumes[].persistentVolumeClaim", true}), true
	case v.Ephemeral != nil:
		return yield(Ref{PersistentVolumeClaims, ClaimName(pod, v), "spec.volumes[].ephemeral", true}) && ofTemplate(v.Ephemeral.VolumeClaimTemplate, yield), true
	case v.CSI != nil:
		if r := v.CSI.NodePublishSecretRef; r != nil && !named(yield, Secrets, r.Name, "spec.volumes[].csi.nodePublishSecretRef", true) {
			return false, true
		}
		return yield(Ref{CSIDrivers, v.CSI.Driver, "spec.volumes[].csi.driver", false}), true
	case v.Glusterfs != nil:
		return yield(Ref{Endpoints, v.Glusterfs.EndpointsName, "spec.volumes[].glusterfs.endpoints", false}), true
	}
	return true, false
}

func ofProjection(pod *corev1.Pod, s *corev1.VolumeProjection, yield func(Ref) bool) bool {
	switch {
	case s.ConfigMap != nil:
		return yield(Ref{ConfigMaps, s.ConfigMap.Name, "spec.volumes[].projected.sources[].configMap", true})
	case s.Secret != nil:
		return yield(Ref{Secrets, s.Secret.Name, "spec.volumes[].projected.sources[].secret", true})
	case s.ServiceAccountToken != nil:
		return yield(Ref{ServiceAccounts, pod.Spec.ServiceAccountName, "spec.volumes[].projected.sources[].serviceAccountToken", false})
	case s.ClusterTrustBundle != nil:
		name := ""
		if s.ClusterTrustBundle.Name != nil {
			name = *s.ClusterTrustBundle.Name
		}
		return yield(Ref{ClusterTrustBundles, name, "spec.volumes[].projected.sources[].clusterTrustBundle", false}) &&
			optional(yield, Signers, s.ClusterTrustBundle.SignerName, "spec.volumes[].projected.sources[].clusterTrustBundle.signerName", false)
	case s.PodCertificate != nil:
		return yield(Ref{Signers, s.PodCertificate.SignerName, "spec.volumes[].projected.sources[].podCertificate.signerName", false})
	case s.DownwardAPI != nil:
		return true
	}
	return yield(Ref{Resource: Unknown, Field: "spec.volumes[].projected.sources[]"})
}

// ofTemplate yields what the claim of an ephemeral volume refers to. The node reads the claim, not these.
func ofTemplate(t *corev1.PersistentVolumeClaimTemplate, yield func(Ref) bool) bool {
	if t == nil {
		return true
	}
	s := &t.Spec
	if r := s.DataSource; r != nil && !named(yield, DataSources, r.Name, "spec.volumes[].ephemeral.volumeClaimTemplate.spec.dataSource", false) {
		return false
	}
	if r := s.DataSourceRef; r != nil && !named(yield, DataSources, r.Name, "spec.volumes[].ephemeral.volumeClaimTemplate.spec.dataSourceRef", false) {
		return false
	}
	return named(yield, PersistentVolumes, s.VolumeName, "spec.volumes[].ephemeral.volumeClaimTemplate.spec.volumeName", false) &&
		optional(yield, StorageClasses, s.StorageClassName, "spec.volumes[].ephemeral.volumeClaimTemplate.spec.storageClassName", false) &&
		optional(yield, VolumeAttributesClasses, s.VolumeAttributesClassName, "spec.volumes[].ephemeral.volumeClaimTemplate.spec.volumeAttributesClassName", false)
}

// volumeSecret is the Secret by which a volume of the older kinds is mounted; known tells whether the volume is one of them.
func volumeSecret(s *corev1.VolumeSource) (name, field string, known bool) {
	local := func(r *corev1.LocalObjectReference, field string) (string, string, bool) {
		if r == nil {
			return "", field, true
		}
		return r.Name, field, true
	}
	switch {
	case s.AzureFile != nil:
		return s.AzureFile.SecretName, "spec.volumes[].azureFile.secretName", true
	case s.CephFS != nil:
		return local(s.CephFS.SecretRef, "spec.volumes[].cephfs.secretRef")
	case s.Cinder != nil:
		return local(s.Cinder.SecretRef, "spec.volumes[].cinder.secretRef")
	case s.FlexVolume != nil:
		return local(s.FlexVolume.SecretRef, "spec.volumes[].flexVolume.secretRef")
	case s.RBD != nil:
		return local(s.RBD.SecretRef, "spec.volumes[].rbd.secretRef")
	case s.ScaleIO != nil:
		return local(s.ScaleIO.SecretRef, "spec.volumes[].scaleIO.secretRef")
	case s.ISCSI != nil:
		return local(s.ISCSI.SecretRef, "spec.volumes[].iscsi.secretRef")
	case s.StorageOS != nil:
		return local(s.StorageOS.SecretRef, "spec.volumes[].storageos.secretRef")
	}
	return "", "", false
}

// plainVolume: volumes that name no object.
func plainVolume(s *corev1.VolumeSource) bool {
	return s.EmptyDir != nil || s.HostPath != nil || s.DownwardAPI != nil || s.Image != nil || s.NFS != nil || s.GitRepo != nil || s.FC != nil ||
		s.AWSElasticBlockStore != nil || s.AzureDisk != nil || s.Flocker != nil || s.GCEPersistentDisk != nil || s.PhotonPersistentDisk != nil ||
		s.PortworxVolume != nil || s.Quobyte != nil || s.VsphereVolume != nil
}
