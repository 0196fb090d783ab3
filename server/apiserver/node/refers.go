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
		return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name ||
				v.Ephemeral != nil && pod.Name+"-"+v.Name == name
		})
	case "secrets":
		return refersSecret(pod, name)
	case "configmaps":
		return refersConfigMap(pod, name)
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
