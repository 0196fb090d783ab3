package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of a Server. What is not marked optional is required.
type Config struct {
	Registry  *registry.Registry
	Catalogue *api.Catalogue
	// Store is asked for readiness, and for snapshots when a proxy looks for a pod or a node. Optional in tests.
	Store *store.Store

	// Listen is the TCP address of the TLS listener, e.g. ":6443"; "" listens nowhere (see Serve and Handler).
	Listen string
	// GetCertificate is asked in each handshake, so that renewed certificates are served at once.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAs verify client certificates; the x509 authenticator has the same pool.
	ClientCAs *x509.CertPool
	// MinTLS is the lowest version that is spoken (default TLS 1.2), CipherSuites are those of TLS 1.2 (default Go's).
	MinTLS       uint16
	CipherSuites []uint16

	// Authenticators are asked in order; the first that knows the caller wins.
	Authenticators []authn.Authenticator
	// Anonymous tells for a path whether who shows no credentials may go on to authorization, as system:anonymous. Nil: nobody.
	Anonymous func(path string) bool
	// Authorizers are asked in order; the first opinion wins.
	Authorizers authz.Chain

	// Version is served at /version.
	Version version.Info
	// CABundle is served at /cacerts, in PEM. OpenIDConfiguration and JWKS are the issuer's documents, in JSON.
	CABundle            func() []byte
	OpenIDConfiguration func() []byte
	JWKS                func() []byte

	// DialNode connects to an address ("host:port", as the node's status has it) through the node's tunnel or directly.
	// An empty nodeName means a pod or service address of which the node is not known. Nil: net.Dialer.
	DialNode func(ctx context.Context, nodeName, address string) (net.Conn, error)
	// KubeletTLS is the client configuration towards kubelets (the server's identity and the CA).
	KubeletTLS func() *tls.Config

	// Extra handlers by exact path or, with a trailing slash, by prefix (joining, tunnels). They are behind
	// authentication and authorization like any path, except those in PublicPaths.
	Extra       map[string]http.Handler
	PublicPaths []string

	// Health checks beside the store's, by name, shown at /healthz, /livez and /readyz. Optional.
	Checks []Check
	// LoopChecks are more of them, asked for each time. Optional.
	LoopChecks func() []Check

	// Flags are the command line's, by name, for /flagz and /configz; what is confidential is left out. Optional.
	Flags func() map[string]string
	// Logs is the folder that /logs shows. Optional.
	Logs fs.FS

	// Audit writes down who did what; nil writes nothing.
	Audit *audit.Log
	// Metrics registers the server's metrics and gathers what /metrics shows; nil makes one.
	Metrics *prometheus.Registry

	// Aggregator passes on what other servers serve; nil has none.
	Aggregator Aggregator
	// Fairness decides which requests run now and which wait; nil makes one with upstream's defaults.
	Fairness *fairness.Fairness
	// MaxStreams bounds how many watches and other streams one user may have open; default 5,000.
	MaxStreams int
	// MaxConnections bounds the open connections, and MaxConnectionsPerAddress those from one address; default 10,000
	// and 1,000.
	MaxConnections, MaxConnectionsPerAddress int
	// RequestTimeout of requests that are not streams; default 60 s.
	RequestTimeout time.Duration
	// SendTimeout is how long the client of a watch may take to read what was sent before it is cut; default 30 s.
	SendTimeout time.Duration
	// HandshakeTimeout is how long a client may take for its TLS handshake, and for the headers of a request; default 10 s.
	HandshakeTimeout time.Duration

	Now func() time.Time
	Log *slog.Logger
}

// Aggregator knows which group versions other servers serve.
type Aggregator interface {
	// Serves tells whether a group version is another server's.
	Serves(group, version string) bool
	// Serve passes a request on as a user; it is false when the group version is not another server's.
	Serve(w http.ResponseWriter, r *http.Request, group, version string, u user.Info) bool
}

// validate sets the defaults, once.
func (c *Config) validate() error {
	if c.Registry == nil || c.Catalogue == nil {
		return errors.New("apiserver: Registry and Catalogue are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("component", "apiserver")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 30 * time.Second
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 5000
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 10_000
	}
	if c.MaxConnectionsPerAddress == 0 {
		c.MaxConnectionsPerAddress = 1000
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 60 * time.Second
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Fairness == nil {
		var err error
		if c.Fairness, err = fairness.New(fairness.Config{Metrics: c.Metrics, Now: c.Now, Log: c.Log}); err != nil {
			return fmt.Errorf("apiserver: priority and fairness: %w", err)
		}
	}
	if c.DialNode == nil {
		var d net.Dialer
		c.DialNode = func(ctx context.Context, _, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	return nil
}
