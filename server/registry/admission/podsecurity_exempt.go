package admission

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	psconfig "k8s.io/pod-security-admission/admission/api"
	psapi "k8s.io/pod-security-admission/api"

	"codeberg.org/skiff/skiff/server/registry"
)

// exemptions are what the Pod Security Standards do not hold for. The zero value exempts nothing.
type exemptions struct {
	users, namespaces, runtimeClasses sets.Set[string]
}

func newExemptions(c psconfig.PodSecurityExemptions) exemptions {
	return exemptions{users: sets.New(c.Usernames...), namespaces: sets.New(c.Namespaces...), runtimeClasses: sets.New(c.RuntimeClasses...)}
}

// from says whether a request is exempt, and tells the audit log why.
func (e *exemptions) from(a *registry.Attributes, spec *corev1.PodSpec) bool {
	reason := ""
	switch {
	case e.namespaces.Has(a.Namespace):
		reason = "namespace"
	case a.User != nil && e.users.Has(a.User.GetName()):
		reason = "user"
	case e.runtimeClass(spec):
		reason = "runtimeClass"
	default:
		return false
	}
	a.Note(psapi.AuditAnnotationPrefix+psapi.ExemptionReasonAnnotationKey, reason, false)
	return true
}

func (e *exemptions) runtimeClass(spec *corev1.PodSpec) bool {
	return spec.RuntimeClassName != nil && e.runtimeClasses.Has(*spec.RuntimeClassName)
}
