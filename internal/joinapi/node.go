package joinapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// NodeOf verifies the client certificate of a connection and returns the node it belongs to. Nothing else on the way
// needs to have verified it.
func NodeOf(state *tls.ConnectionState, roots *x509.CertPool, now time.Time) (string, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return "", errors.New("no client certificate")
	}
	return nodeOf(state.PeerCertificates, roots, now)
}

// ExpiredNodeOf is NodeOf for a certificate that is good but for its time, which has passed or not come; "" for every other. Who takes it has to
// know from elsewhere that its key is still the node's.
func ExpiredNodeOf(state *tls.ConnectionState, roots *x509.CertPool, now time.Time) (leaf *x509.Certificate, node string) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil, ""
	}
	leaf = state.PeerCertificates[0]
	switch {
	case now.After(leaf.NotAfter):
		now = leaf.NotAfter
	case now.Before(leaf.NotBefore):
		now = leaf.NotBefore
	default:
		return nil, ""
	}
	node, err := nodeOf(state.PeerCertificates, roots, now)
	if err != nil {
		return nil, ""
	}
	return leaf, node
}

func nodeOf(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (string, error) {
	leaf := chain[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return "", fmt.Errorf("client certificate: %w", err)
	}
	name, ok := strings.CutPrefix(leaf.Subject.CommonName, wellknown.UserNodePrefix)
	if !ok || name == "" || !slices.Contains(leaf.Subject.Organization, wellknown.GroupNodes) {
		return "", fmt.Errorf("client certificate of %q is not a node's", leaf.Subject.CommonName)
	}
	return name, nil
}
