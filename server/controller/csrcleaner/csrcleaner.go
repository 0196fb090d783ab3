// Package csrcleaner deletes certificate signing requests that nobody needs any more: an hour after they were approved, denied
// or failed, a day after they were made if nobody decided, and when their certificate has expired.
package csrcleaner

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/csr"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	decidedFor = time.Hour
	pendingFor = 24 * time.Hour
)

// New returns the controller; its keys are requests.
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "csrcleaner", ServiceAccount: "certificate-controller",
		Inputs: []controller.Input{{Kind: &certificatesv1.CertificateSigningRequest{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type == store.Deleted {
				return nil
			}
			return []string{e.Object.GetName()}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			r, ok := client.Get[*certificatesv1.CertificateSigningRequest](c.Snapshot(), "", key)
			if !ok {
				return controller.Result{}, nil
			}
			if wait := decide(r).Sub(now()); wait > 0 {
				return controller.Result{After: wait}, nil
			}
			err := c.DeleteNow(ctx, r)
			if apierrors.IsNotFound(err) {
				err = nil
			}
			return controller.Result{}, err
		},
	}
}

// decide tells when a request is to be deleted.
func decide(r *certificatesv1.CertificateSigningRequest) time.Time {
	var at time.Time
	earlier := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	pending := true
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		c := csr.Condition(r, t)
		if c == nil {
			continue
		}
		pending = false
		if t == certificatesv1.CertificateApproved && len(r.Status.Certificate) == 0 && !csr.Has(r, certificatesv1.CertificateFailed) {
			earlier(latest(c.LastUpdateTime.Time, r.CreationTimestamp.Time).Add(pendingFor)) // approved, and nobody signs
			continue
		}
		earlier(latest(c.LastUpdateTime.Time, r.CreationTimestamp.Time).Add(decidedFor))
	}
	if pending {
		earlier(r.CreationTimestamp.Add(pendingFor))
	}
	if block, _ := pem.Decode(r.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			earlier(cert.NotAfter)
		}
	}
	return at
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
