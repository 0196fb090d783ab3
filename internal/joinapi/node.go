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
	leaf := state.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range state.PeerCertificates[1:] {
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
