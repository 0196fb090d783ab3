package match

import (
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Request describes the subject to a target, without uid and objects.
func (m *Subject) Request(t Target) *admissionv1.AdmissionRequest {
	dryRun := m.DryRun
	return &admissionv1.AdmissionRequest{
		Kind:            metav1.GroupVersionKind(t.Kind),
		Resource:        metav1.GroupVersionResource(t.Resource),
		SubResource:     m.Subresource,
		RequestKind:     (*metav1.GroupVersionKind)(&m.Asked.Kind),
		RequestResource: (*metav1.GroupVersionResource)(&m.Asked.Resource), RequestSubResource: m.Subresource,
		Name: m.Name, Namespace: m.Namespace, Operation: admissionv1.Operation(m.Verb),
		UserInfo: m.userInfo(), DryRun: &dryRun, Options: m.options(),
	}
}

func (m *Subject) userInfo() (u authenticationv1.UserInfo) {
	if m.User == nil {
		return u
	}
	u = authenticationv1.UserInfo{Username: m.User.GetName(), UID: m.User.GetUID(), Groups: m.User.GetGroups()}
	for key, values := range m.User.GetExtra() {
		if u.Extra == nil {
			u.Extra = map[string]authenticationv1.ExtraValue{}
		}
		u.Extra[key] = values
	}
	return u
}

func (m *Subject) options() runtime.RawExtension {
	kind := ""
	switch m.Options.(type) {
	case *metav1.CreateOptions:
		kind = "CreateOptions"
	case *metav1.UpdateOptions:
		kind = "UpdateOptions"
	case *metav1.PatchOptions:
		kind = "PatchOptions"
	case *metav1.DeleteOptions:
		kind = "DeleteOptions"
	default:
		return runtime.RawExtension{}
	}
	gvk := metav1.SchemeGroupVersion.WithKind(kind)
	return runtime.RawExtension{Object: WithType(m.Options, gvk)}
}
