package outbound

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Of one transport.
const (
	idleConnections = 8
	idleTimeout     = 60 * time.Second
	dialTimeout     = 10 * time.Second
	maxHeader       = 64 << 10
)

// base is the URL of the target: what it says itself, or https://<service>.<namespace>.svc:<port><path>.
func (t Target) base() (string, error) {
	if s := t.Service; s != nil {
		u := url.URL{Scheme: "https", Host: net.JoinHostPort(s.host(), strconv.Itoa(int(s.port()))), Path: s.Path}
		return u.String(), nil
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return "", fmt.Errorf("target %q: %w", t.URL, err)
	}
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("target %q is not an http or https URL", t.URL)
	}
	return t.URL, nil
}

func (s *Service) host() string { return s.Name + "." + s.Namespace + ".svc" }

func (s *Service) port() int32 {
	if s.Port == 0 {
		return defaultPort
	}
	return s.Port
}

// key is what two targets have in common that may share connections.
type key struct {
	host                 string // of the Service; "" for URLs, whose connections http.Transport tells apart itself
	namespace, name      string
	port                 int32
	bundle               [sha256.Size]byte
	insecure, frontProxy bool
	credentials          string
}

func (t Target) key() key {
	k := key{bundle: sha256.Sum256(t.CABundle), insecure: t.Insecure, frontProxy: t.FrontProxy}
	if t.Credentials != nil {
		k.credentials = t.Credentials.Name
	}
	if s := t.Service; s != nil {
		k.namespace, k.name, k.port = s.Namespace, s.Name, s.port()
	} else if u, err := url.Parse(t.URL); err == nil {
		k.host = u.Host
	}
	return k
}

// transport makes the connections to a target. A Service's endpoint is looked up for each connection.
func (c *Client) transport(t Target) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure, NextProtos: []string{"http/1.1"}}
	if len(t.CABundle) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(t.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	if t.FrontProxy {
		conf.GetClientCertificate = c.cfg.FrontProxy
	} else if t.Credentials != nil {
		conf.GetClientCertificate = t.Credentials.Certificate
	}
	tr := &http.Transport{
		TLSClientConfig: conf, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // no HTTP/2
	}
	if s := t.Service; s != nil {
		conf.ServerName = s.host()
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.DialService(ctx, s.Namespace, s.Name, s.port())
		}
		return tr, nil
	}
	tr.Proxy = http.ProxyFromEnvironment
	d := net.Dialer{Timeout: dialTimeout}
	tr.DialContext = d.DialContext
	return tr, nil
}

// transports of the targets that were called lately. The zero value is ready.
type transports struct {
	mu    sync.Mutex
	clock uint64
	byKey map[key]*cached
}

type cached struct {
	*http.Transport
	used uint64 // transports.clock of the last use
}

func (ts *transports) get(k key, make func() (*http.Transport, error)) (*http.Transport, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.clock++
	if c := ts.byKey[k]; c != nil {
		c.used = ts.clock
		return c.Transport, nil
	}
	tr, err := make()
	if err != nil {
		return nil, err
	}
	if ts.byKey == nil {
		ts.byKey = map[key]*cached{}
	}
	if len(ts.byKey) >= maxTransports {
		ts.forgetOldest()
	}
	ts.byKey[k] = &cached{tr, ts.clock}
	return tr, nil
}

// forgetOldest leaves connections in use to those who use them: they close when they become idle.
func (ts *transports) forgetOldest() {
	var oldest key
	age := ts.clock + 1
	for k, c := range ts.byKey {
		if c.used < age {
			oldest, age = k, c.used
		}
	}
	ts.byKey[oldest].CloseIdleConnections()
	delete(ts.byKey, oldest)
}
