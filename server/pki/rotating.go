package pki

import (
	"crypto/tls"
	"sync"
	"time"
)

// Rotating is a leaf certificate that renews itself: whoever asks for it after two thirds of its life gets a new one.
// Its methods fit tls.Config's GetCertificate and GetClientCertificate. Safe for concurrent use.
type Rotating struct {
	ca   *CA
	leaf func() Leaf
	now  func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

// NewRotating makes one; leaf is asked again at each renewal, so names and addresses may change.
func NewRotating(ca *CA, leaf func() Leaf, now func() time.Time) *Rotating {
	return &Rotating{ca: ca, leaf: leaf, now: now}
}

// Get returns the certificate in force.
func (r *Rotating) Get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.current != nil && now.Before(r.renewAt) && !now.Before(r.current.Leaf.NotBefore) { // the clock may have been set back
		return r.current, nil
	}
	leaf := r.leaf()
	cert, err := r.ca.Issue(leaf, now)
	if err != nil {
		if r.current != nil && now.Before(r.current.Leaf.NotAfter) {
			return r.current, nil // better the old one, while it lasts, than no connection
		}
		return nil, err
	}
	r.current, r.renewAt = cert, RenewalTime(cert.Leaf.NotBefore, cert.Leaf.NotAfter)
	return cert, nil
}

// Renew drops the certificate in force, so that the next Get issues one with the names of now.
func (r *Rotating) Renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewAt = time.Time{}
}

// GetCertificate is for tls.Config on a server.
func (r *Rotating) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.Get() }

// GetClientCertificate is for tls.Config on a client.
func (r *Rotating) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.Get()
}

// RenewalTime is when a certificate should be replaced: after two thirds of its life.
func RenewalTime(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) * 2 / 3)
}
