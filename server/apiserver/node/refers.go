package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// refers tells whether a pod names an object of its namespace.
func refers(pod *corev1.Pod, resource, name string) bool {
	switch resource {
	case "serviceaccounts":
		return pod.Spec.ServiceAccountName == name
	case "persistentvolumeclaims":
		return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return claimOf(pod, &v) == name })
	case "resourceclaims":
		return refersResourceClaim(pod, name)
	case "secrets":
		return refersSecret(pod, name)
	case "configmaps":
		return refersConfigMap(pod, name)
	}
	return false
}

// claimOf is the name of the claim behind a volume; "" if there is none.
func claimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

func refersResourceClaim(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.ResourceClaims {
		if n := pod.Spec.ResourceClaims[i].ResourceClaimName; n != nil && *n == name {
			return true
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses { // those that were made of a template
		if s.ResourceClaimName != nil && *s.ResourceClaimName == name {
			return true
		}
	}
	return pod.Status.ExtendedResourceClaimStatus != nil && pod.Status.ExtendedResourceClaimStatus.ResourceClaimName == name
}

// volumeNamesSecret tells whether a volume needs a secret to be mounted.
func volumeNamesSecret(pv *corev1.PersistentVolume, namespace, name string) bool {
	is := func(ref *corev1.SecretReference) bool {
		if ref == nil || ref.Name != name {
			return false
		}
		ns := ref.Namespace
		if ns == "" && pv.Spec.ClaimRef != nil {
			ns = pv.Spec.ClaimRef.Namespace
		}
		return ns == namespace
	}
	s := &pv.Spec.PersistentVolumeSource
	switch {
	case s.CSI != nil:
		return is(s.CSI.NodePublishSecretRef) || is(s.CSI.NodeStageSecretRef) || is(s.CSI.NodeExpandSecretRef)
	case s.FlexVolume != nil:
		return is(s.FlexVolume.SecretRef)
	case s.ISCSI != nil:
		return is(s.ISCSI.SecretRef)
	case s.CephFS != nil:
		return is(s.CephFS.SecretRef)
	case s.RBD != nil:
		return is(s.RBD.SecretRef)
	case s.AzureFile != nil:
		ref := &corev1.SecretReference{Name: s.AzureFile.SecretName}
		if s.AzureFile.SecretNamespace != nil {
			ref.Namespace = *s.AzureFile.SecretNamespace
		}
		return is(ref)
	case s.ScaleIO != nil:
		return is(s.ScaleIO.SecretRef)
	}
	return false
}

func refersSecret(pod *corev1.Pod, name string) bool {
	for _, s := range pod.Spec.ImagePullSecrets {
		if s.Name == name {
			return true
		}
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Secret != nil && v.Secret.SecretName == name || v.CSI != nil && refIs(v.CSI.NodePublishSecretRef, name) {
			return true
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool {
			return p.Secret != nil && p.Secret.Name == name
		}) {
			return true
		}
	}
	return anyEnv(pod, func(from *corev1.EnvFromSource, value *corev1.EnvVarSource) bool {
		return from != nil && from.SecretRef != nil && from.SecretRef.Name == name ||
			value != nil && value.SecretKeyRef != nil && value.SecretKeyRef.Name == name
	})
}

func refIs(ref *corev1.LocalObjectReference, name string) bool { return ref != nil && ref.Name == name }

func refersConfigMap(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool {
			return p.ConfigMap != nil && p.ConfigMap.Name == name
		}) {
			return true
		}
	}
	return anyEnv(pod, func(from *corev1.EnvFromSource, value *corev1.EnvVarSource) bool {
		return from != nil && from.ConfigMapRef != nil && from.ConfigMapRef.Name == name ||
			value != nil && value.ConfigMapKeyRef != nil && value.ConfigMapKeyRef.Name == name
	})
}

// anyEnv asks about every source of environment of every container.
func anyEnv(pod *corev1.Pod, is func(*corev1.EnvFromSource, *corev1.EnvVarSource) bool) bool {
	one := func(from []corev1.EnvFromSource, env []corev1.EnvVar) bool {
		for i := range from {
			if is(&from[i], nil) {
				return true
			}
		}
		for i := range env {
			if env[i].ValueFrom != nil && is(nil, env[i].ValueFrom) {
				return true
			}
		}
		return false
	}
	for _, c := range pod.Spec.InitContainers {
		if one(c.EnvFrom, c.Env) {
			return true
		}
	}
	for _, c := range pod.Spec.Containers {
		if one(c.EnvFrom, c.Env) {
			return true
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if one(c.EnvFrom, c.Env) {
			return true
		}
	}
	return false
}
