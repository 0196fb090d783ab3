package join

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"k8s.io/client-go/rest"

	"codeberg.org/skiff/skiff/internal/version"
)

// RESTConfig is a client-go configuration with the kubelet's identity, through dial (Balancer.Dial). Its connections
// present the certificate in force; those that are older than a renewal are given up when they become idle.
func (id *Identity) RESTConfig(dial func(ctx context.Context, network, address string) (net.Conn, error)) *rest.Config {
	return id.restConfig(dial, id.Client, "kubelet")
}

// ProxyRESTConfig is the same with system:kube-proxy's identity.
func (id *Identity) ProxyRESTConfig(dial func(ctx context.Context, network, address string) (net.Conn, error)) *rest.Config {
	return id.restConfig(dial, id.Proxy, "kube-proxy")
}

type certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

func (id *Identity) restConfig(dial func(context.Context, string, string) (net.Conn, error), cert certificate, component string) *rest.Config {
	return &rest.Config{
		Host:      id.cfg.Server,
		Transport: &renewedTransport{id: id, dial: dial, cert: cert},
		QPS:       -1, // the server protects itself
		UserAgent: version.UserAgent(component),
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	}
}

// renewedTransport makes a new transport when the certificates have been renewed.
type renewedTransport struct {
	id   *Identity
	dial func(context.Context, string, string) (net.Conn, error)
	cert certificate

	mu      sync.Mutex
	of      *state
	current *http.Transport
}

func (t *renewedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	tr, err := t.transport()
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		t.id.doubted() // the server's clock, or its authority, is another than ours
	}
	return resp, err
}

func (t *renewedTransport) transport() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.id.now.Load()
	if t.of == now {
		return t.current, nil
	}
	next := &http.Transport{
		DialContext:         t.dial,
		TLSClientConfig:     t.id.clientTLS(t.cert),
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 4,
	}
	h2, err := http2.ConfigureTransports(next)
	if err != nil {
		return nil, err
	}
	h2.ReadIdleTimeout, h2.PingTimeout = 30*time.Second, 15*time.Second // a server that vanished is noticed
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.of, t.current = now, next
	return next, nil
}

// CloseIdleConnections is what http.Client and client-go's tests ask for.
func (t *renewedTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}
