package api

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

func podCertificateRequest() *Kind {
	type request = *certificatesv1.PodCertificateRequest
	return &Kind{
		Group: "certificates.k8s.io", Kind: "PodCertificateRequest", Plural: "podcertificaterequests", Singular: "podcertificaterequest",
		Namespaced: true,
		Versions:   []Version{typed[certificatesv1.PodCertificateRequest, certificatesv1.PodCertificateRequestList]("certificates.k8s.io", "v1")},
		Prefix:     "/registry/podcertificaterequests",
		Strategy: Strategy{
			Default:        do(func(r request) { unset(&r.Spec.MaxExpirationSeconds, 86400) }),
			PrepareCreate:  do(func(r request) { r.Status = certificatesv1.PodCertificateRequestStatus{} }),
			PrepareUpdate:  doPair(func(r, old request) { r.Status = old.Status }),
			Validate:       one(validatePodCertificateRequest),
			ValidateUpdate: pair(validatePodCertificateRequestUpdate),
		},
		Subresources: []Subresource{statusAlone(func(to, from request) { to.Status = from.Status }, validatePodCertificateRequestStatus)},
		Columns: []Column{
			str("PodName", "pod that asks", func(r request) string { return r.Spec.PodName }),
			str("ServiceAccountName", "service account of the pod", func(r request) string { return r.Spec.ServiceAccountName }),
			str("NodeName", "node of the pod", func(r request) string { return string(r.Spec.NodeName) }),
			str("SignerName", "who shall sign", func(r request) string { return r.Spec.SignerName }),
			str("State", "how it stands", func(r request) string {
				if end := podCertificateEnd(r); end != "" {
					return end
				}
				return "Pending"
			}),
			str("UnverifiedUserAnnotations", "what the pod's author tells the signer", func(r request) string {
				return labels.FormatLabels(r.Spec.UnverifiedUserAnnotations)
			}),
		},
		Fields: one(func(r request) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
		}),
		FieldNames: []string{"spec.signerName", "spec.podName", "spec.nodeName"},
	}
}

// podCertificateEnd is how a request has ended: Issued, Denied or Failed; "" while it has not.
func podCertificateEnd(r *certificatesv1.PodCertificateRequest) (end string) {
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
			certificatesv1.PodCertificateRequestConditionTypeFailed:
			if c.Status == metav1.ConditionTrue {
				end = c.Type
			}
		}
	}
	return end
}
