package api

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
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
			// The spec cannot change; only metadata can.
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *certificatesv1.CertificateSigningRequest) {
				approval := approvals(to.Status.Conditions, true)
				to.Status = from.Status
				to.Status.Conditions = append(approvals(from.Status.Conditions, false), approval...)
			}, nil),
			{Name: "approval", Verbs: readWrite, Inject: inject(func(to, sent *certificatesv1.CertificateSigningRequest) {
				to.Status.Conditions = sent.Status.Conditions
			})},
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

// approvals returns the conditions that are (or are not) an approver's to set.
func approvals(cs []certificatesv1.CertificateSigningRequestCondition, want bool) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, c := range cs {
		if (c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied) == want {
			out = append(out, c)
		}
	}
	return out
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

func validateCSR(r *certificatesv1.CertificateSigningRequest) fieldErrors {
	c, spec := &check{}, at("spec")
	if block, rest := pem.Decode(r.Spec.Request); block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		c.invalid(spec.Child("request"), r.Spec.Request, "PEM block type must be CERTIFICATE REQUEST")
	} else if _, err := x509.ParseCertificateRequest(block.Bytes); err != nil {
		c.invalid(spec.Child("request"), r.Spec.Request, err.Error())
	}
	if len(r.Spec.Usages) == 0 {
		c.required(spec.Child("usages"), "")
	}
	seen := once{}
	for i, u := range r.Spec.Usages {
		seen.add(c, spec.Child("usages").Index(i), string(u))
	}
	if c.needs(spec.Child("signerName"), r.Spec.SignerName) {
		domain, path, ok := strings.Cut(r.Spec.SignerName, "/")
		if !ok || strings.Contains(path, "/") || path == "" {
			c.invalid(spec.Child("signerName"), r.Spec.SignerName, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		} else {
			c.invalid(spec.Child("signerName"), r.Spec.SignerName, subdomain(domain)...)
		}
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < minCertificateSeconds {
		c.invalid(spec.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	return c.errs
}
