package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// How long a registry may take before it counts as unreachable.
const (
	dialTimeout   = 4 * time.Second
	headerTimeout = 20 * time.Second
	// stallTimeout is how long a download may deliver nothing.
	stallTimeout = 30 * time.Second
)

// registry is a session with one endpoint, authenticated for one repository.
type registry struct {
	endpoint
	scheme string
	base   *http.Transport
	client *http.Client
}

// dial makes the transport of an endpoint; nothing is sent yet.
func (e endpoint) dial() (*registry, error) {
	tlsConfig, err := e.config.tls()
	if err != nil {
		return nil, fmt.Errorf("TLS of registry %s: %w", e.host, err)
	}
	base := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       5 * time.Second,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
	}
	return &registry{endpoint: e, base: base}, nil
}

func (r *registry) close() { r.base.CloseIdleConnections() }

func (c hostConfig) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS == nil {
		return cfg, nil
	}
	cfg.InsecureSkipVerify = c.TLS.InsecureSkipVerify
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, err
		}
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// login agrees with the registry on how to authenticate.
func (r *registry) login(ctx context.Context, auth *Auth) error {
	var opts []name.Option
	if r.http {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(r.host, opts...)
	if err != nil {
		return fmt.Errorf("registry %s: %w", r.host, err)
	}
	authenticator := authn.Anonymous
	if auth != nil {
		authenticator = authn.FromConfig(authn.AuthConfig{
			Username: auth.Username, Password: auth.Password, RegistryToken: auth.Token, IdentityToken: auth.IdentityToken,
		})
	}
	guard := &schemeGuard{registry: r}
	rt, err := transport.NewWithContext(ctx, reg, authenticator, guard, []string{"repository:" + r.repo + ":pull"})
	if err != nil {
		return r.explain(ctx, err)
	}
	r.scheme = guard.scheme()
	r.client = &http.Client{Transport: rt}
	return nil
}

// schemeGuard keeps plain HTTP, and with it any password, away from registries that are not configured for it.
type schemeGuard struct {
	registry *registry
	plain    bool // the registry answered over plain HTTP
}

func (g *schemeGuard) scheme() string {
	if g.plain {
		return "http"
	}
	return "https"
}

func (g *schemeGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	r := g.registry
	if req.URL.Scheme == "http" && !r.http {
		return nil, fmt.Errorf("plain HTTP to %s is not allowed: registry %s is not configured for it", req.URL.Host, r.host)
	}
	if req.URL.Scheme == "https" && !r.https && req.URL.Host == r.host {
		return nil, errPlainOnly
	}
	resp, err := r.base.RoundTrip(req)
	if err == nil && req.URL.Host == r.host {
		g.plain = req.URL.Scheme == "http"
	}
	return resp, err
}

var errPlainOnly = errors.New("configured for plain HTTP")

// get asks for <root>/<repo>/<what>. The caller closes the body of a 200 or 206; anything else is an error.
func (r *registry) get(ctx context.Context, what string, header http.Header) (*http.Response, error) {
	u := url.URL{Scheme: r.scheme, Host: r.host, Path: r.root + "/" + r.repo + "/" + what}
	if r.ns != "" {
		u.RawQuery = url.Values{"ns": {r.ns}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable); err != nil {
		resp.Body.Close()
		return nil, r.explain(ctx, err)
	}
	return resp, nil
}

// getSmall reads a manifest or config into memory, bounded.
func (r *registry) getSmall(ctx context.Context, what string, header http.Header) ([]byte, http.Header, error) {
	resp, err := r.get(ctx, what, header)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBlob+1))
	if err != nil {
		return nil, nil, r.explain(ctx, err)
	}
	if len(raw) > maxBlob {
		return nil, nil, corrupt("%s of %s is larger than %d bytes", what, r.repo, maxBlob)
	}
	return raw, resp.Header, nil
}

// explain gives an error of the registry its type.
func (r *registry) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("registry %s: %w", r.host, context.Cause(ctx))
	}
	for _, known := range []error{ErrNotFound, ErrUnauthorized, ErrUnreachable, ErrCorrupt} {
		if errors.Is(err, known) {
			return err
		}
	}
	var status *transport.Error
	if !errors.As(err, &status) {
		return fmt.Errorf("registry %s: %w: %w", r.host, ErrUnreachable, err)
	}
	switch code := status.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("registry %s: %w: pull access denied, the repository does not exist or needs credentials: %w", r.host, ErrUnauthorized, err)
	case code == http.StatusNotFound:
		return fmt.Errorf("registry %s: %w: %w", r.host, ErrNotFound, err)
	case code >= 500 || code == http.StatusTooManyRequests:
		return fmt.Errorf("registry %s: %w: %w", r.host, ErrUnreachable, err)
	}
	return fmt.Errorf("registry %s: %w", r.host, err)
}
