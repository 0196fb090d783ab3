package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// podSpecWarnings are about what works, but not as its author may think.
func podSpecWarnings(s *corev1.PodSpec) (texts []string) {
	at := at("spec")
	if s.DeprecatedServiceAccount != "" && s.DeprecatedServiceAccount != s.ServiceAccountName {
		texts = append(texts, "spec.serviceAccount: deprecated; use spec.serviceAccountName instead")
	}
	names := map[string]bool{}
	for i, ct := range s.Containers {
		env := map[string]bool{}
		for j, e := range ct.Env {
			if env[e.Name] {
				texts = append(texts, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply",
					at.Child("containers").Index(i).Child("env").Index(j), e.Name))
			}
			env[e.Name] = true
		}
		for j, p := range ct.Ports {
			id := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			if names[ct.Name+id] {
				texts = append(texts, fmt.Sprintf("%s: duplicate port definition with %s", at.Child("containers").Index(i).Child("ports").Index(j), at.Child("containers").Index(i).Child("ports").Index(0)))
			}
			names[ct.Name+id] = true
		}
	}
	for i, v := range s.Volumes {
		unsupported := map[string]bool{"gitRepo": v.GitRepo != nil, "glusterfs": v.Glusterfs != nil, "rbd": v.RBD != nil, "cephfs": v.CephFS != nil}
		for _, name := range sortedKeys(unsupported) {
			if unsupported[name] {
				texts = append(texts, fmt.Sprintf("%s: deprecated, and not supported by any node of this cluster", at.Child("volumes").Index(i).Child(name)))
			}
		}
	}
	return texts
}
