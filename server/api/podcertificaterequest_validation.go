package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of a pod's certificate: lifetimes in seconds, sizes in bytes.
const (
	minPodCertificateSeconds = 3600
	maxPodCertificateSeconds = 91 * 86400
	maxOwnCertificateSeconds = 86400 // of Kubernetes' own signers
	maxPodCertificateKey     = 10 << 10
	maxPodCertificateChain   = 100 << 10
	maxUID                   = 128
)

func validatePodCertificateRequest(r *certificatesv1.PodCertificateRequest) fieldErrors {
	c, spec, s := &check{}, at("spec"), &r.Spec
	c.signerName(spec.Child("signerName"), s.SignerName)
	c.userAnnotations(spec.Child("unverifiedUserAnnotations"), s.UnverifiedUserAnnotations)
	for _, who := range []struct{ name, uid, value, id string }{
		{"podName", "podUID", s.PodName, string(s.PodUID)},
		{"serviceAccountName", "serviceAccountUID", s.ServiceAccountName, string(s.ServiceAccountUID)},
		{"nodeName", "nodeUID", string(s.NodeName), string(s.NodeUID)},
	} {
		c.invalid(spec.Child(who.name), who.value, apivalidation.NameIsDNSSubdomain(who.value, false)...)
		if who.id == "" {
			c.invalid(spec.Child(who.uid), who.id, "must not be empty")
		}
		if len(who.id) > maxUID {
			c.add(field.TooLong(spec.Child(who.uid), who.id, maxUID))
		}
	}
	if s.MaxExpirationSeconds == nil {
		c.required(spec.Child("maxExpirationSeconds"), "must be set")
		return c.errs
	}
	c.podCertificateSeconds(spec.Child("maxExpirationSeconds"), s.SignerName, *s.MaxExpirationSeconds)
	if len(s.StubPKCS10Request) == 0 {
		c.invalid(spec, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")
	} else {
		c.stubRequest(spec.Child("stubPKCS10Request"), s.StubPKCS10Request)
	}
	return c.errs
}

// podCertificateSeconds checks how long a certificate may be asked for.
func (c *check) podCertificateSeconds(at *field.Path, signer string, n int32) {
	most := int32(maxPodCertificateSeconds)
	if ownSigner(signer) {
		most = maxOwnCertificateSeconds
	}
	if n < minPodCertificateSeconds || n > most {
		c.invalid(at, n, fmt.Sprintf("must be in the range [%d, %d]", minPodCertificateSeconds, most))
	}
}

func (c *check) userAnnotations(at *field.Path, annotations map[string]string) {
	for _, k := range sortedKeys(annotations) {
		c.add(validation.IsDomainPrefixedKey(at, strings.ToLower(k))...)
	}
	if apivalidation.ValidateAnnotationsSize(annotations) != nil {
		c.add(field.TooLong(at, "", apivalidation.TotalAnnotationSizeLimitB))
	}
}

func (c *check) stubRequest(at *field.Path, der []byte) {
	if len(der) > maxPodCertificateKey {
		c.add(field.TooLong(at, der, maxPodCertificateKey))
		return
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		c.invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return
	}
	if value, wrong := weakKey(request.PublicKey); wrong != "" {
		c.invalid(at, value, wrong)
	} else if request.CheckSignature() != nil {
		c.invalid(at, field.OmitValueType{}, "invalid signature")
	}
}

// weakKey says what is wrong with a key, and what of it to show.
func weakKey(key any) (value any, wrong string) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return "curve " + k.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521"
		}
	case *rsa.PublicKey:
		if bits := k.Size() * 8; bits != 3072 && bits != 4096 {
			return fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096"
		}
	default:
		return field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
	}
	return nil, ""
}

func validatePodCertificateRequestUpdate(r, old *certificatesv1.PodCertificateRequest) fieldErrors {
	c := &check{}
	c.add(apivalidation.ValidateImmutableField(r.Spec, old.Spec, at("spec"))...)
	return c.errs
}

// validatePodCertificateRequestStatus: a request ends once, in one of three ways. That a certificate begins about now
// is for admission to see, which has a clock.
func validatePodCertificateRequestStatus(r, old *certificatesv1.PodCertificateRequest) fieldErrors {
	c, status := &check{}, at("status")
	c.podCertificateConditions(r.Status.Conditions)
	c.add(metavalidation.ValidateConditions(r.Status.Conditions, status.Child("conditions"))...)
	if len(c.errs) > 0 {
		return c.errs
	}
	equal := func(a, b certificatesv1.PodCertificateRequestStatus, words string) {
		if !apiequality.Semantic.DeepEqual(a, b) {
			c.invalid(status, field.OmitValueType{}, words)
		}
	}
	if podCertificateEnd(old) != "" {
		equal(r.Status, old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
		return c.errs
	}
	switch podCertificateEnd(r) {
	case "":
		equal(r.Status, old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	case certificatesv1.PodCertificateRequestConditionTypeIssued:
		c.issued(r)
	default:
		equal(r.Status, certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
			"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
	}
	return c.errs
}

func (c *check) podCertificateConditions(list []metav1.Condition) {
	known := []string{certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
		certificatesv1.PodCertificateRequestConditionTypeFailed}
	n := 0
	for i, cond := range list {
		path := at("status", "conditions", fmt.Sprintf("[%d]", i))
		if cond.Type != known[0] && cond.Type != known[1] && cond.Type != known[2] {
			c.add(field.NotSupported(path.Child("type"), cond.Type, known))
			continue
		}
		if n++; n > 1 {
			c.invalid(path.Child("type"), cond.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
		}
		if cond.Status != metav1.ConditionTrue {
			c.add(field.NotSupported(path.Child("status"), cond.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
		}
	}
}

// issued checks a certificate chain, and that the times beside it are the leaf's.
func (c *check) issued(r *certificatesv1.PodCertificateRequest) {
	status, chain := at("status"), r.Status.CertificateChain
	path := status.Child("certificateChain")
	if len(chain) > maxPodCertificateChain {
		c.add(field.TooLong(path, chain, maxPodCertificateChain))
		return
	}
	leaf, wrong := parseChain(chain)
	if wrong != "" {
		c.invalid(path, chain, wrong)
		return
	}
	c.leafNames(path, leaf)
	request, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		c.invalid(at("spec", "stubPKCS10Request"), field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return
	}
	if key, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !key.Equal(leaf.PublicKey) {
		c.invalid(path, chain, "leaf certificate was not issued to the requested public key")
		return
	}
	before := len(c.errs)
	for _, t := range []struct {
		name  string
		value *metav1.Time
		words string
	}{
		{"notBefore", r.Status.NotBefore, "must be present and consistent with the issued certificate"},
		{"notAfter", r.Status.NotAfter, "must be present and consistent with the issued certificate"},
		{"beginRefreshAt", r.Status.BeginRefreshAt, "must be present and in the range [notbefore+10min, notafter-10min]"},
	} {
		if t.value == nil {
			c.required(status.Child(t.name), t.words)
		}
	}
	if len(c.errs) == before {
		c.issuedTimes(r, leaf)
	}
}

func (c *check) issuedTimes(r *certificatesv1.PodCertificateRequest, leaf *x509.Certificate) {
	path, s := at("status"), &r.Status
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	switch most := deref(r.Spec.MaxExpirationSeconds); {
	case !s.NotBefore.Time.Equal(leaf.NotBefore):
		c.invalid(path.Child("notBefore"), s.NotBefore.Time, "must be set to the NotBefore time encoded in the leaf certificate")
	case !s.NotAfter.Time.Equal(leaf.NotAfter):
		c.invalid(path.Child("notAfter"), s.NotAfter.Time, "must be set to the NotAfter time encoded in the leaf certificate")
	case lifetime < time.Hour:
		c.invalid(path.Child("certificateChain"), lifetime, "leaf certificate lifetime must be >= 1 hour")
	case lifetime > time.Duration(most)*time.Second:
		c.invalid(path.Child("certificateChain"), lifetime, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", most))
	case s.BeginRefreshAt.Time.Before(s.NotBefore.Add(10 * time.Minute)):
		c.invalid(path.Child("beginRefreshAt"), s.BeginRefreshAt.Time, "must be at least 10 minutes after status.notBefore")
	case s.BeginRefreshAt.After(s.NotAfter.Add(-10 * time.Minute)):
		c.invalid(path.Child("beginRefreshAt"), s.BeginRefreshAt.Time, "must be at least 10 minutes before status.notAfter")
	}
}

// parseChain returns the first certificate of PEM that holds certificates and nothing else.
func parseChain(chain string) (leaf *x509.Certificate, wrong string) {
	rest := []byte(chain)
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return nil, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		switch {
		case err != nil && leaf == nil:
			return nil, "leaf certificate does not parse as valid X.509"
		case err != nil:
			return nil, "intermediate certificate does not parse as valid X.509"
		case leaf == nil:
			leaf = cert
		}
	}
	if leaf == nil {
		return nil, "issued certificate chain must contain at least one certificate"
	}
	return leaf, ""
}

func (c *check) leafNames(at *field.Path, leaf *x509.Certificate) {
	for _, name := range leaf.DNSNames {
		if name == "" {
			c.invalid(at, name, "leaf certificate should not contain empty DNSName")
		}
		if strings.Contains(name, "..") {
			c.invalid(at, name, "leaf certificate's DNSName should not contain '..'")
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			c.invalid(at, name, "leaf certificate's DNSName should not start or end with '.'")
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			c.invalid(at, address, "leaf certificate should not contain invalid EmailAddress")
		}
	}
}
