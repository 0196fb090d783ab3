// Package csrsigning signs approved certificate signing requests of the four signers that a cluster itself is: client
// certificates of users (kube-apiserver-client) and of kubelets (kube-apiserver-client-kubelet), serving certificates of
// kubelets (kubelet-serving), and what is left of legacy-unknown. A request that does not fit its signer fails for ever, with a
// condition that says why. The authorities' keys stay where they are: the controller hands over a template. Kubelets' serving certificates are signed by an authority
// of their own, and name nobody else.
package csrsigning

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/csr"
	"codeberg.org/skiff/skiff/server/store"
)

// Sign has the cluster's authority sign a template for a public key, and returns the certificate in PEM. The authority sets
// the serial number, and shortens what would outlive itself.
type Sign func(template *x509.Certificate, pub crypto.PublicKey) ([]byte, error)

const (
	// lifetime of a certificate whose request says none, and the longest.
	lifetime = 365 * 24 * time.Hour
	// shortest that is signed, whatever the request says.
	shortest = 10 * time.Minute
	// backdate allows for clocks that are slow. It counts as part of the lifetime, except of short ones.
	backdate = 5 * time.Minute
	short    = 8 * time.Hour

	legacySigner = "kubernetes.io/legacy-unknown"
)

// Config of the controller.
type Config struct {
	Now func() time.Time
	// Sign is the cluster's authority; SignServing that of kubelets' serving certificates.
	Sign, SignServing Sign
	// CheckServing says why a node may not have a name or an address in its serving certificate.
	CheckServing func(node string, names []string, addresses []net.IP) error
}

// New returns the controller; its keys are requests.
func New(cfg Config) controller.Controller {
	s := signer{cfg}
	return controller.Controller{
		Name: "csrsigning", ServiceAccount: "certificate-controller", Workers: 2,
		Inputs: []controller.Input{{Kind: &certificatesv1.CertificateSigningRequest{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type == store.Deleted || decide(e.Object.(*certificatesv1.CertificateSigningRequest), time.Time{}).idle() {
				return nil
			}
			return []string{e.Object.GetName()}
		}}},
		Reconcile: s.reconcile,
	}
}

type signer struct{ cfg Config }

// plan is what to do with a request: sign the template, or fail it.
type plan struct {
	template *x509.Certificate
	public   crypto.PublicKey
	failure  string
}

func (p plan) idle() bool { return p.template == nil && p.failure == "" }

// String prints the plan, for tests.
func (p plan) String() string {
	switch {
	case p.failure != "":
		return "fail: " + p.failure
	case p.template == nil:
		return "nothing"
	}
	t := p.template
	return fmt.Sprintf("sign CN=%s O=%v DNS=%v IP=%v %s..%s usage=%d ext=%v", t.Subject.CommonName, t.Subject.Organization, t.DNSNames, t.IPAddresses,
		t.NotBefore.UTC().Format(time.RFC3339), t.NotAfter.UTC().Format(time.RFC3339), t.KeyUsage, t.ExtKeyUsage)
}

func decide(r *certificatesv1.CertificateSigningRequest, now time.Time) plan {
	if !csr.Has(r, certificatesv1.CertificateApproved) || csr.Has(r, certificatesv1.CertificateDenied) || csr.Has(r, certificatesv1.CertificateFailed) ||
		len(r.Status.Certificate) > 0 {
		return plan{}
	}
	check, ours := checks[r.Spec.SignerName]
	if !ours {
		return plan{}
	}
	request, err := api.ParseCertificateRequest(r.Spec.Request)
	if err != nil {
		return plan{failure: fmt.Sprintf("unable to parse csr %q: %v", r.Name, err)}
	}
	if err := check(request, r.Spec.Usages); err != nil {
		return plan{failure: err.Error()}
	}
	if err := request.CheckSignature(); err != nil {
		return plan{failure: fmt.Sprintf("unable to verify certificate request signature: %v", err)}
	}
	template := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		BasicConstraintsValid: true,
	}
	if template.KeyUsage, template.ExtKeyUsage, err = usagesOf(r.Spec.Usages); err != nil {
		return plan{failure: err.Error()}
	}
	template.NotBefore, template.NotAfter = validity(r.Spec.ExpirationSeconds, now)
	return plan{template: template, public: request.PublicKey}
}

var checks = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeAPIServerClientSignerName: func(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
		return csr.CheckClient(usages)
	},
	certificatesv1.KubeAPIServerClientKubeletSignerName: csr.CheckKubeletClient,
	certificatesv1.KubeletServingSignerName:             csr.CheckKubeletServing,
	legacySigner:                                        func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
}

// validity of a certificate that is signed now.
func validity(seconds *int32, now time.Time) (notBefore, notAfter time.Time) {
	life := lifetime
	if seconds != nil {
		life = min(max(time.Duration(*seconds)*time.Second, shortest), lifetime)
	}
	notBefore = now.Add(-backdate)
	if life < short {
		return notBefore, now.Add(life)
	}
	return notBefore, notBefore.Add(life)
}

// checkServing fails a plan whose certificate would name somebody else. An approver may not have looked at that.
func (s signer) checkServing(p plan) plan {
	if p.template == nil || s.cfg.CheckServing == nil {
		return p
	}
	node := strings.TrimPrefix(p.template.Subject.CommonName, wellknown.UserNodePrefix)
	if err := s.cfg.CheckServing(node, p.template.DNSNames, p.template.IPAddresses); err != nil {
		return plan{failure: err.Error()}
	}
	return p
}

func (s signer) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	r, ok := client.Get[*certificatesv1.CertificateSigningRequest](c.Snapshot(), "", key)
	if !ok {
		return controller.Result{}, nil
	}
	p := decide(r, s.cfg.Now())
	if p.idle() {
		return controller.Result{}, nil
	}
	sign := s.cfg.Sign
	if r.Spec.SignerName == certificatesv1.KubeletServingSignerName {
		sign = s.cfg.SignServing
		p = s.checkServing(p)
	}
	r = r.DeepCopy()
	if p.failure != "" {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: p.failure})
	} else {
		var err error
		if r.Status.Certificate, err = sign(p.template, p.public); err != nil {
			return controller.Result{}, fmt.Errorf("sign %q: %w", r.Name, err)
		}
	}
	_, err := c.UpdateStatus(ctx, r)
	return controller.Result{}, err
}
