package objects

import corev1 "k8s.io/api/core/v1"

// References of a pod to ConfigMaps, Secrets and trust bundles: of its volumes, environment and image pulls.
func References(pod *corev1.Pod) []Ref {
	var out []Ref
	cm := func(name string) { out = append(out, Ref{KindConfigMap, pod.Namespace, name}) }
	secret := func(name string) { out = append(out, Ref{KindSecret, pod.Namespace, name}) }
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			cm(v.ConfigMap.Name)
		case v.Secret != nil:
			secret(v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					cm(s.ConfigMap.Name)
				}
				if s.Secret != nil {
					secret(s.Secret.Name)
				}
				if s.ClusterTrustBundle != nil {
					out = append(out, allTrustBundles)
				}
			}
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		if s.Name != "" {
			secret(s.Name)
		}
	}
	env := func(from []corev1.EnvFromSource, vars []corev1.EnvVar) {
		for _, f := range from {
			if f.ConfigMapRef != nil {
				cm(f.ConfigMapRef.Name)
			}
			if f.SecretRef != nil {
				secret(f.SecretRef.Name)
			}
		}
		for _, v := range vars {
			if v.ValueFrom == nil {
				continue
			}
			if r := v.ValueFrom.ConfigMapKeyRef; r != nil {
				cm(r.Name)
			}
			if r := v.ValueFrom.SecretKeyRef; r != nil {
				secret(r.Name)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		env(pod.Spec.InitContainers[i].EnvFrom, pod.Spec.InitContainers[i].Env)
	}
	for i := range pod.Spec.Containers {
		env(pod.Spec.Containers[i].EnvFrom, pod.Spec.Containers[i].Env)
	}
	for i := range pod.Spec.EphemeralContainers {
		env(pod.Spec.EphemeralContainers[i].EnvFrom, pod.Spec.EphemeralContainers[i].Env)
	}
	return out
}
