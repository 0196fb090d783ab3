package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// TLSConfig is what the administrator says of the API server's TLS.
type TLSConfig struct {
	// ClientCAFile holds more authorities whose client certificates are users of the API, beside the cluster's own. "" for none.
	ClientCAFile string
	// MinVersion and CipherSuites by Go's names; the suites are those of TLS 1.2, later versions choose their own.
	MinVersion   string
	CipherSuites []string

	clientCA []byte
	min      uint16
	suites   []uint16
}

func (c *TLSConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.ClientCAFile, "client-ca-file", "", "file with more certificate authorities (PEM): who shows a client certificate of theirs is the user of its common name, in the groups of its organizations; read at the start")
	f.StringVar(&c.MinVersion, "tls-min-version", "VersionTLS12", "lowest TLS version that the API server speaks: VersionTLS12 or VersionTLS13")
	f.StringSliceVar(&c.CipherSuites, "tls-cipher-suites", nil, "TLS 1.2 cipher suites of the API server, by Go's names (default: Go's); one must be good for ECDSA keys, and one of HTTP/2's be among them")
}

func (c *TLSConfig) validate() (err error) {
	switch c.MinVersion {
	case "", "VersionTLS12":
		c.min = tls.VersionTLS12
	case "VersionTLS13":
		c.min = tls.VersionTLS13
	default:
		return fmt.Errorf("--tls-min-version: %q is not VersionTLS12 or VersionTLS13", c.MinVersion)
	}
	if c.suites, err = cliflag.TLSCipherSuites(c.CipherSuites); err != nil {
		return fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	if err := c.checkSuites(); err != nil {
		return fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	if c.ClientCAFile == "" {
		return nil
	}
	if c.clientCA, err = os.ReadFile(c.ClientCAFile); err != nil {
		return fmt.Errorf("--client-ca-file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(c.clientCA) {
		return fmt.Errorf("--client-ca-file: %s holds no certificate", c.ClientCAFile)
	}
	return nil
}

// checkSuites refuses lists with which no client could connect by TLS 1.2.
func (c *TLSConfig) checkSuites() error {
	if len(c.suites) == 0 {
		return nil
	}
	if c.min >= tls.VersionTLS13 {
		return errors.New("TLS 1.3 chooses its own; leave it out with --tls-min-version=VersionTLS13")
	}
	if !slices.Contains(c.suites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) { // RFC 9113, 9.2.2, with the server's kind of key
		return fmt.Errorf("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 must be among %s: HTTP/2 requires it", strings.Join(c.CipherSuites, ","))
	}
	return nil
}

// userCAs sign the client certificates of users: the cluster's own authority, and those of --client-ca-file.
func (s *Server) userCAs() []byte {
	return slices.Concat(s.ca.PEM(), s.cfg.TLS.clientCA)
}

func (s *Server) userPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.userCAs())
	return pool
}
