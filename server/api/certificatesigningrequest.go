package api

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func certificateSigningRequest() *Kind {
	return &Kind{
		Group: "certificates.k8s.io", Kind: "CertificateSigningRequest", Plural: "certificatesigningrequests",
		Singular: "certificatesigningrequest", ShortNames: []string{"csr"},
		Versions: []Version{typed[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList]("certificates.k8s.io", "v1")},
		Prefix:   "/registry/certificatesigningrequests",
		Strategy: Strategy{
			Default: do(func(c *certificatesv1.CertificateSigningRequest) {
				if c.Spec.Usages == nil {
					c.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
				}
			}),
			// Who asks (username, uid, groups, extra) is written by admission, which knows.
			PrepareCreate: do(func(c *certificatesv1.CertificateSigningRequest) {
				c.Status = certificatesv1.CertificateSigningRequestStatus{}
			}),
			PrepareUpdate: doPair(func(c, old *certificatesv1.CertificateSigningRequest) { c.Spec, c.Status = old.Spec, old.Status }),
			Validate:      one(validateCSR),
			ValidateName:  func(string, bool) []string { return nil },
			// The spec cannot change; only metadata can.
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *certificatesv1.CertificateSigningRequest) {
				decided := approvals(to.Status.Conditions)
				to.Status = from.Status
				keepApprovals(to.Status.Conditions, decided)
			}, validateCSRStatus),
			approval(),
		},
		Columns: []Column{
			age(),
			str("SignerName", "who shall sign", func(c *certificatesv1.CertificateSigningRequest) string { return orNone(c.Spec.SignerName) }),
			str("Requestor", "who asked", func(c *certificatesv1.CertificateSigningRequest) string { return c.Spec.Username }),
			str("RequestedDuration", "how long it shall be valid", func(c *certificatesv1.CertificateSigningRequest) string {
				if c.Spec.ExpirationSeconds == nil {
					return "<none>"
				}
				return duration.HumanDuration(time.Duration(*c.Spec.ExpirationSeconds) * time.Second)
			}),
			str("Condition", "how it stands", csrState),
		},
		Fields: one(func(c *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": c.Spec.SignerName}
		}),
		FieldNames: []string{"spec.signerName"},
	}
}

// approval is the subresource that approvers write: all conditions, and of the metadata what a status update takes.
func approval() Subresource {
	s := status(func(to, sent *certificatesv1.CertificateSigningRequest) {
		to.Status.Conditions = sent.Status.Conditions
	}, validateCSRApproval)
	s.Name = "approval"
	return s
}

func decides(t certificatesv1.RequestConditionType) bool {
	return t == certificatesv1.CertificateApproved || t == certificatesv1.CertificateDenied
}

// approvals returns the conditions that are an approver's alone to set.
func approvals(cs []certificatesv1.CertificateSigningRequestCondition) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, c := range cs {
		if decides(c.Type) {
			out = append(out, c)
		}
	}
	return out
}

// keepApprovals puts back what a signer may have changed of an approver's conditions. One that was added or left out
// stays so: validation says that it may not be.
func keepApprovals(sent, had []certificatesv1.CertificateSigningRequestCondition) {
	for i := range sent {
		for _, c := range had {
			if c.Type == sent[i].Type {
				sent[i] = c
			}
		}
	}
}

func csrState(c *certificatesv1.CertificateSigningRequest) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, cond := range c.Status.Conditions {
		has[cond.Type] = true
	}
	s := "Pending"
	switch {
	case has[certificatesv1.CertificateDenied]:
		s = "Denied"
	case has[certificatesv1.CertificateApproved]:
		s = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		s += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		s += ",Issued"
	}
	return s
}

const minCertificateSeconds = 600

// legacySigner signed what named no signer, in an API version that is gone. What is stored for it is still signed.
const legacySigner = "kubernetes.io/legacy-unknown"

// maxCertificateRequest bounds what is parsed.
const maxCertificateRequest = 256 << 10

// ParseCertificateRequest reads the PEM of a CertificateSigningRequest. Its signature is not checked.
func ParseCertificateRequest(data []byte) (*x509.CertificateRequest, error) {
	if len(data) > maxCertificateRequest {
		return nil, fmt.Errorf("the request has %d bytes, the limit is %d", len(data), maxCertificateRequest)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

var certificateUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCRLSign, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageMicrosoftSGC,
	certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning,
	certificatesv1.UsageTimestamping,
}

func validateCSR(r *certificatesv1.CertificateSigningRequest) fieldErrors {
	c, spec := &check{}, at("spec")
	if _, err := ParseCertificateRequest(r.Spec.Request); err != nil {
		c.invalid(spec.Child("request"), r.Spec.Request, err.Error())
	}
	if len(r.Spec.Usages) == 0 {
		c.required(spec.Child("usages"), "")
	}
	seen := once{}
	for i, u := range r.Spec.Usages {
		path := spec.Child("usages").Index(i)
		if !slices.Contains(certificateUsages, u) {
			c.add(field.NotSupported(path, u, certificateUsages))
		}
		seen.add(c, path, string(u))
	}
	if r.Spec.SignerName == legacySigner {
		c.invalid(spec.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		c.signerName(spec.Child("signerName"), r.Spec.SignerName)
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < minCertificateSeconds {
		c.invalid(spec.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	return c.errs
}

func validateCSRStatus(r, old *certificatesv1.CertificateSigningRequest) fieldErrors {
	c, path := &check{}, at("status", "certificate")
	if len(old.Status.Certificate) > 0 && !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		c.forbidden(path, "updates may not modify existing certificate content")
	} else if len(r.Status.Certificate) > 0 {
		if err := checkCertificatePEM(r.Status.Certificate); err != nil {
			c.invalid(path, "<certificate data>", err.Error())
		}
	}
	c.conditionsOfCSR(r, old)
	for _, cond := range approvals(r.Status.Conditions) {
		if !slices.ContainsFunc(old.Status.Conditions, func(o certificatesv1.CertificateSigningRequestCondition) bool { return o.Type == cond.Type }) {
			c.forbidden(at("status", "conditions"), fmt.Sprintf("updates may not add a condition of type %q", cond.Type))
		}
	}
	return c.errs
}

func validateCSRApproval(r, old *certificatesv1.CertificateSigningRequest) fieldErrors {
	c := &check{}
	c.conditionsOfCSR(r, old)
	return c.errs
}

func (c *check) conditionsOfCSR(r, old *certificatesv1.CertificateSigningRequest) {
	path, seen := at("status", "conditions"), once{}
	decided := map[certificatesv1.RequestConditionType]bool{}
	for i, cond := range r.Status.Conditions {
		at := path.Index(i)
		if cond.Type == "" {
			c.required(at.Child("type"), "")
		}
		seen.add(c, at.Child("type"), string(cond.Type))
		switch {
		case cond.Status == "":
			c.required(at.Child("status"), "")
		case decides(cond.Type) || cond.Type == certificatesv1.CertificateFailed:
			oneOf(c, at.Child("status"), cond.Status, corev1.ConditionTrue)
		default:
			oneOf(c, at.Child("status"), cond.Status, corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown)
		}
		decided[cond.Type] = true
		if (cond.Type == certificatesv1.CertificateApproved || cond.Type == certificatesv1.CertificateDenied) &&
			decided[certificatesv1.CertificateApproved] && decided[certificatesv1.CertificateDenied] {
			c.invalid(path, cond.Type, "Approved and Denied conditions are mutually exclusive")
		}
	}
	for _, was := range old.Status.Conditions {
		if (was.Type == certificatesv1.CertificateApproved || was.Type == certificatesv1.CertificateDenied || was.Type == certificatesv1.CertificateFailed) && !decided[was.Type] {
			c.forbidden(path, fmt.Sprintf("updates may not remove a condition of type %q", was.Type))
		}
	}
}

// checkCertificatePEM: certificates, one after the other, and nothing else.
func checkCertificatePEM(data []byte) error {
	found := false
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		case len(block.Headers) != 0:
			return fmt.Errorf("no PEM block headers are permitted")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("certificate is not valid: %w", err)
		}
		found, data = true, rest
	}
	if !found {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
