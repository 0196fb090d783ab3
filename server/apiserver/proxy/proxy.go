// Package proxy passes requests on to kubelets, pods and services: plain HTTP with redirects and links of HTML rewritten
// so that they lead through the proxy again, and upgrades (SPDY, WebSocket) as bytes, which it does not look into.
//
// Each request has a connection of its own, made by Config.Dial, which knows the way to a node; nothing is kept between
// requests. It starts no goroutine that outlives its request.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/internal/linger"
)

// Config of a Proxy.
type Config struct {
	// Dial connects to host:port by way of a node ("": unknown).
	Dial func(ctx context.Context, nodeName, address string) (net.Conn, error)
	// KubeletTLS is how the server shows itself to kubelets, and checks them.
	KubeletTLS func() *tls.Config
	Log        *slog.Logger
	// StreamIdle is how long an upgraded connection may be silent before it is cut; default 4 h.
	StreamIdle time.Duration
}

// Proxy passes requests on.
type Proxy struct{ cfg Config }

// New starts nothing.
func New(cfg Config) *Proxy {
	if cfg.StreamIdle == 0 {
		cfg.StreamIdle = streamIdle
	}
	return &Proxy{cfg}
}

// Target is where a request goes.
type Target struct {
	// Node on which Address (host:port) is found.
	Node, Address string
	// Kubelet: TLS with the server's identity. Otherwise TLS says whether to speak it, unverified, as upstream does to
	// pods, which have no name that a certificate could hold.
	Kubelet, TLS bool
	// Path, escaped, and Query for the backend.
	Path, Query string
	// Prefix is the proxy's own path, for rewriting; "" rewrites nothing.
	Prefix string
	// Fail answers with an error.
	Fail func(error)
	// Check may turn a backend's answer into an error before anything is sent; may be nil.
	Check func(*http.Response) error
}

// dialTimeout bounds how long a backend may take to answer a connection.
const dialTimeout = 30 * time.Second

// Serve passes the request on and the answer back.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, t Target) {
	upgrade := r.Header.Get("Upgrade") != ""
	transport := p.transport(t, upgrade)
	defer transport.CloseIdleConnections()
	scheme := "http"
	if t.TLS || t.Kubelet {
		scheme = "https"
	}
	rp := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
		Rewrite:       func(pr *httputil.ProxyRequest) { rewriteRequest(pr, scheme, t) },
		ModifyResponse: func(resp *http.Response) error {
			if t.Check != nil {
				if err := t.Check(resp); err != nil {
					return err
				}
			}
			for _, name := range []string{"Audit-Id", "Cache-Control"} { // the server's own come first
				if w.Header().Get(name) != "" && resp.Header.Get(name) != "" {
					w.Header().Del(name)
				}
			}
			if rwc, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
				resp.Body = &backend{rwc}
			}
			return rewriteResponse(resp, t)
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { t.Fail(p.reachError(err, t)) },
	}
	if upgrade {
		w = linger.Writer(w)
	}
	rp.ServeHTTP(w, r)
}

func rewriteRequest(pr *httputil.ProxyRequest, scheme string, t Target) {
	out := pr.Out
	out.URL = &url.URL{Scheme: scheme, Host: t.Address, RawQuery: t.Query}
	if path, err := url.PathUnescape(t.Path); err == nil {
		out.URL.Path, out.URL.RawPath = path, t.Path
	} else {
		out.URL.Path = t.Path
	}
	out.Host = t.Address
	out.Header.Del("Authorization")
	out.Header.Del("Accept-Encoding") // bodies may have to be rewritten
	if t.Prefix != "" {
		out.Header.Set("X-Forwarded-Uri", t.Prefix+t.Path)
		out.Header.Set("X-Forwarded-Host", pr.In.Host)
		out.Header.Set("X-Forwarded-Proto", "https")
	}
	if host, _, err := net.SplitHostPort(pr.In.RemoteAddr); err == nil {
		out.Header.Set("X-Forwarded-For", host)
	}
}

func (p *Proxy) transport(t Target, upgrade bool) *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := p.cfg.Dial(ctx, t.Node, t.Address)
		if err != nil {
			return nil, &dialError{err}
		}
		if upgrade {
			return newIdleConn(conn, p.cfg.StreamIdle), nil
		}
		return conn, nil
	}
	return &http.Transport{
		DialContext:        dial,
		DisableKeepAlives:  false, // "Connection: close" would end upgrades; the idle connection is closed after the request
		DisableCompression: true,
		TLSClientConfig:    p.tls(t),
		// HTTP/1.1 only: upgrades need it.
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

func (p *Proxy) tls(t Target) *tls.Config {
	if !t.Kubelet || p.cfg.KubeletTLS == nil {
		return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see Target.TLS
	}
	config := p.cfg.KubeletTLS().Clone()
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(t.Address)
	}
	return config
}

type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// reachError is what a client is told when the backend cannot be reached.
func (p *Proxy) reachError(err error, t Target) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	p.cfg.Log.Debug("proxy", "node", t.Node, "address", t.Address, "error", err)
	if t.Kubelet {
		var dial *dialError
		if errors.As(err, &dial) {
			return apierrors.NewInternalError(fmt.Errorf("error dialing backend: %w", err))
		}
		return apierrors.NewInternalError(fmt.Errorf("kubelet at %s: %w", t.Address, err))
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err))
}
