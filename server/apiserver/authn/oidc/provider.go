package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"k8s.io/apiserver/pkg/apis/apiserver"
)

const (
	// fetchTimeout bounds one request to a provider; retryAfter is between two tries to reach it.
	fetchTimeout = 10 * time.Second
	retryAfter   = 10 * time.Second
	// keysEvery is how often a provider's keys are fetched at most.
	keysEvery = time.Second
	// maxDocument bounds what a provider may answer.
	maxDocument = 1 << 20
)

// provider is the far side of one issuer.
type provider struct {
	issuer, discovery string
	algs              []string
	client            *http.Client
	now               func() time.Time
	// verifier is nil until the provider has answered.
	verifier atomic.Pointer[gooidc.IDTokenVerifier]
}

func newProvider(i *apiserver.Issuer, algs []string, now func() time.Time) (*provider, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if i.CertificateAuthority != "" {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM([]byte(i.CertificateAuthority)) {
			return nil, fmt.Errorf("issuer %s: no certificate in its certificate authority", i.URL)
		}
	}
	p := &provider{issuer: i.URL, discovery: i.DiscoveryURL, algs: algs, now: now}
	if p.discovery == "" {
		p.discovery = strings.TrimSuffix(i.URL, "/") + "/.well-known/openid-configuration"
	}
	p.client = &http.Client{Timeout: fetchTimeout, Transport: &bounded{
		next: &http.Transport{TLSClientConfig: tlsConfig, Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true},
	}}
	return p, nil
}

// document is the part of a discovery document that is needed.
type document struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
}

// connect asks for the discovery document. ctx lives as long as the keys are needed.
func (p *provider) connect(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.discovery, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", p.discovery, resp.Status)
	}
	var doc document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		return fmt.Errorf("%s: %w", p.discovery, err)
	}
	switch {
	case doc.Issuer != p.issuer:
		return fmt.Errorf("%s says that its issuer is %q, expected %q", p.discovery, doc.Issuer, p.issuer)
	case !strings.HasPrefix(doc.JWKSURI, "https://"):
		return fmt.Errorf("%s: jwks_uri %q is not an https URL", p.discovery, doc.JWKSURI)
	}
	p.client.Transport.(*bounded).limit(doc.JWKSURI)
	keys := gooidc.NewRemoteKeySet(gooidc.ClientContext(ctx, p.client), doc.JWKSURI)
	// Audiences are checked by the caller, for there may be several.
	p.verifier.Store(gooidc.NewVerifier(p.issuer, keys, &gooidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: p.algs, Now: p.now}))
	return nil
}

// bounded limits how much a provider answers and, of one URL, how often it is asked.
type bounded struct {
	next http.RoundTripper

	mu   sync.Mutex
	url  string
	last time.Time
}

var errTooOften = errors.New("the provider's keys were fetched a moment ago, and the token's key was not among them")

func (b *bounded) limit(url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.url = url
}

// RoundTrip serves http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := b.take(r.URL.String()); err != nil {
		return nil, err
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxDocument), resp.Body}
	return resp, nil
}

func (b *bounded) take(url string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if url != b.url {
		return nil
	}
	now := time.Now()
	if now.Sub(b.last) < keysEvery {
		return errTooOften
	}
	b.last = now
	return nil
}
