package podrefs

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// SecretRef is a Secret that a PersistentVolume refers to.
type SecretRef struct {
	Namespace, Name string
	// Field is its path in the volume.
	Field string
	// Read tells that a node reads it to mount the volume; the others are for controllers.
	Read bool
}

// SecretsOf are the Secrets by which a PersistentVolume is mounted, and those by which it is attached and resized. One without a
// namespace of its own is in that of the claim the volume is bound to.
func SecretsOf(pv *corev1.PersistentVolume) iter.Seq[SecretRef] {
	return func(yield func(SecretRef) bool) {
		home := ""
		if pv.Spec.ClaimRef != nil {
			home = pv.Spec.ClaimRef.Namespace
		}
		send := func(namespace, name, field string, read bool) bool {
			if namespace == "" {
				namespace = home
			}
			return name == "" || yield(SecretRef{namespace, name, field, read})
		}
		ref := func(r *corev1.SecretReference, field string, read bool) bool {
			return r == nil || send(r.Namespace, r.Name, field, read)
		}
		secretsOf(&pv.Spec.PersistentVolumeSource, send, ref)
	}
}

func secretsOf(s *corev1.PersistentVolumeSource, send func(namespace, name, field string, read bool) bool, ref func(r *corev1.SecretReference, field string, read bool) bool) {
	switch {
	case s.CSI != nil:
		_ = ref(s.CSI.NodePublishSecretRef, "spec.csi.nodePublishSecretRef", true) && ref(s.CSI.NodeStageSecretRef, "spec.csi.nodeStageSecretRef", true) &&
			ref(s.CSI.NodeExpandSecretRef, "spec.csi.nodeExpandSecretRef", true) && ref(s.CSI.ControllerPublishSecretRef, "spec.csi.controllerPublishSecretRef", false) &&
			ref(s.CSI.ControllerExpandSecretRef, "spec.csi.controllerExpandSecretRef", false)
	case s.AzureFile != nil:
		namespace := ""
		if s.AzureFile.SecretNamespace != nil {
			namespace = *s.AzureFile.SecretNamespace
		}
		send(namespace, s.AzureFile.SecretName, "spec.azureFile.secretName", true)
	case s.StorageOS != nil:
		if r := s.StorageOS.SecretRef; r != nil {
			send(r.Namespace, r.Name, "spec.storageos.secretRef", true)
		}
	case s.CephFS != nil:
		ref(s.CephFS.SecretRef, "spec.cephfs.secretRef", true)
	case s.Cinder != nil:
		ref(s.Cinder.SecretRef, "spec.cinder.secretRef", true)
	case s.FlexVolume != nil:
		ref(s.FlexVolume.SecretRef, "spec.flexVolume.secretRef", true)
	case s.RBD != nil:
		ref(s.RBD.SecretRef, "spec.rbd.secretRef", true)
	case s.ScaleIO != nil:
		ref(s.ScaleIO.SecretRef, "spec.scaleIO.secretRef", true)
	case s.ISCSI != nil:
		ref(s.ISCSI.SecretRef, "spec.iscsi.secretRef", true)
	}
}
