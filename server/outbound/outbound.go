package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of a Client. All is required but FrontProxy.
type Config struct {
	Catalogue *api.Catalogue
	Snapshot  func() *store.Snapshot
	// Dial connects to host:port by way of a node ("": unknown, or none of ours).
	Dial func(ctx context.Context, nodeName, address string) (net.Conn, error)
	// FrontProxy is the server's identity towards targets that ask for it (Target.FrontProxy).
	FrontProxy func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Service names one port of a Service, and a path on it.
type Service struct {
	Namespace, Name, Path string
	Port                  int32 // default 443
}

// Target is where a call goes: a URL ("https://…") or a Service.
type Target struct {
	URL     string
	Service *Service
	// CABundle in PEM checks the target's certificate; empty means the machine's roots.
	CABundle []byte
	// Insecure skips that check (APIServices may ask for it).
	Insecure bool
	// FrontProxy presents the identity by which aggregated API servers know the request headers for true.
	FrontProxy bool
	// Credentials are presented to the target; nil: none.
	Credentials *Credentials

	// Timeout of a Post, which is also told to the target (?timeout=10s); default 30 s. Transport ignores it.
	Timeout time.Duration
	// MaxAnswer is how many bytes of an answer Post reads before it gives up; default 8 MiB.
	MaxAnswer int64
}

// Credentials are how a target knows us.
type Credentials struct {
	// Name tells them from others.
	Name string
	// Certificate of this client; nil: none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Authorize adds a header to each request; nil: none.
	Authorize func(*http.Request) error
}

const (
	defaultTimeout   = 30 * time.Second
	defaultMaxAnswer = 8 << 20
	defaultPort      = 443
	maxTransports    = 256
)

// Client is safe for concurrent use.
type Client struct {
	cfg        Config
	transports transports
}

// New starts nothing.
func New(cfg Config) *Client { return &Client{cfg: cfg} }

// Transport returns a transport for requests to the target, and the base URL they have. Transports of equal targets
// share their connections. It speaks HTTP/1.1 only, so that requests spread over connections, and those over endpoints.
func (c *Client) Transport(t Target) (rt http.RoundTripper, base string, err error) {
	if base, err = t.base(); err != nil {
		return nil, "", err
	}
	rt, err = c.transports.get(t.key(), func() (*http.Transport, error) { return c.transport(t) })
	return rt, base, err
}
