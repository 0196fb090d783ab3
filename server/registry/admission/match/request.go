package match

import (
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
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
		UserInfo: registry.UserInfo(m.User), DryRun: &dryRun, Options: m.options(),
	}
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
