// Package csr holds what the controllers of certificate signing requests share: how a request stands, and what a node's
// certificate may ask for. It decides and does nothing.
package csr

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Condition returns the condition of a type, or nil.
func Condition(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			return &r.Status.Conditions[i]
		}
	}
	return nil
}

// Has tells whether a condition of the type is there.
func Has(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	return Condition(r, t) != nil
}

// sameUsages: the purpose, digital signature and, as one likes, key encipherment.
func sameUsages(have []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) bool {
	allowed := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, purpose}
	for _, u := range have {
		if !slices.Contains(allowed, u) {
			return false
		}
	}
	return slices.Contains(have, purpose) && slices.Contains(have, certificatesv1.UsageDigitalSignature)
}

// What is wrong with the request of a node.
var (
	errOrganization = errors.New("subject organization is not system:nodes")
	errCommonName   = errors.New("subject common name does not begin with \"system:node:\"")
	errEmails       = errors.New("email subjectAltNames are not allowed")
	errURIs         = errors.New("URI subjectAltNames are not allowed")
)

func checkNode(r *x509.CertificateRequest) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{wellknown.GroupNodes}):
		return errOrganization
	case !strings.HasPrefix(r.Subject.CommonName, wellknown.UserNodePrefix):
		return errCommonName
	case len(r.EmailAddresses) > 0:
		return errEmails
	case len(r.URIs) > 0:
		return errURIs
	}
	return nil
}

// CheckKubeletClient says what is wrong with a request for the certificate by which a kubelet calls the API server.
func CheckKubeletClient(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNode(r); err != nil {
		return err
	}
	switch {
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case !sameUsages(usages, certificatesv1.UsageClientAuth):
		return fmt.Errorf("usages did not match [%s %s %s]", certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
	}
	return nil
}

// CheckKubeletServing says what is wrong with a request for the certificate of a kubelet's own port.
func CheckKubeletServing(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNode(r); err != nil {
		return err
	}
	switch {
	case len(r.DNSNames) == 0 && len(r.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case !sameUsages(usages, certificatesv1.UsageServerAuth):
		return fmt.Errorf("usages did not match [%s %s %s]", certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageServerAuth)
	}
	return nil
}

// CheckClient says what is wrong with the usages of a client certificate.
func CheckClient(usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}
