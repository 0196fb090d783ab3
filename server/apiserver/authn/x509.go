package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

// Certificates authenticates client certificates: the common name is the user, organizations are groups. The chain is
// verified once per connection, since a connection keeps its certificate.
type Certificates struct {
	roots *x509.CertPool
	now   func() time.Time

	mu    sync.RWMutex
	known map[*x509.Certificate]verified
}

type verified struct {
	user user.Info
	// until the first certificate of the chain ends.
	until time.Time
}

// rememberedCertificates bounds the memory; beyond it all is forgotten and verified again.
const rememberedCertificates = 1024

// NewCertificates verifies against roots.
func NewCertificates(roots *x509.CertPool, now func() time.Time) *Certificates {
	return &Certificates{roots: roots, now: now, known: map[*x509.Certificate]verified{}}
}

// Authenticate looks at the connection's certificate.
func (c *Certificates) Authenticate(r *http.Request) (user.Info, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	leaf, now := r.TLS.PeerCertificates[0], c.now()
	c.mu.RLock()
	have, ok := c.known[leaf]
	c.mu.RUnlock()
	if ok && now.Before(have.until) {
		return have.user, nil
	}
	v, err := c.verify(r.TLS.PeerCertificates, now)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= rememberedCertificates {
		clear(c.known)
	}
	c.known[leaf] = v
	return v.user, nil
}

func (c *Certificates) verify(certs []*x509.Certificate, now time.Time) (verified, error) {
	leaf, opts := certs[0], x509.VerifyOptions{
		Roots: c.roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range certs[1:] {
		opts.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return verified{}, fmt.Errorf("verifying certificate SN=%s, subject %q: %w", leaf.SerialNumber, leaf.Subject, err)
	}
	if leaf.Subject.CommonName == "" {
		return verified{}, fmt.Errorf("client certificate SN=%s has no common name", leaf.SerialNumber)
	}
	uid, err := uidOf(leaf)
	if err != nil {
		return verified{}, err
	}
	until := leaf.NotAfter
	for _, cert := range chains[0] {
		if cert.NotAfter.Before(until) {
			until = cert.NotAfter
		}
	}
	sum := sha256.Sum256(leaf.Raw)
	return verified{until: until, user: &user.DefaultInfo{
		Name:   leaf.Subject.CommonName,
		UID:    uid,
		Groups: authenticated(leaf.Subject.Organization),
		Extra:  map[string][]string{user.CredentialIDKey: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}}, nil
}

// uidAttribute is the object identifier of a user's uid in a certificate's subject, which upstream registered for it.
var uidAttribute = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

func uidOf(leaf *x509.Certificate) (uid string, err error) {
	for _, name := range leaf.Subject.Names {
		if !name.Type.Equal(uidAttribute) {
			continue
		}
		value, ok := name.Value.(string)
		if !ok || value == "" || uid != "" {
			return "", fmt.Errorf("client certificate SN=%s: expected one uid, as text", leaf.SerialNumber)
		}
		uid = value
	}
	return uid, nil
}
