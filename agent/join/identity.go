package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// Config of an Identity.
type Config struct {
	// Server is the URL of any API server of the cluster; Token joins it. A node that has joined needs no token.
	Server, Token string
	NodeName      string
	// Addresses of the node for its serving certificate, asked again at each renewal.
	Addresses func() []string
	// Dir holds the files of the package comment.
	Dir string
	// Dial connects to the server; default a plain dialer. Balancer.Dial fits once there is one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now and After are the wall clock; After may come early (package wallclock).
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	Log   *slog.Logger
}

func (c *Config) validate() error {
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--server %q must look like https://HOST:PORT", c.Server)
	}
	c.Server = "https://" + u.Host
	if c.NodeName == "" || c.Dir == "" {
		return errors.New("join: NodeName and Dir are required")
	}
	if c.Addresses == nil {
		c.Addresses = func() []string { return nil }
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Identity is the node's certificates and what it knows of its cluster. Safe for concurrent use.
type Identity struct {
	cfg   Config
	token joinapi.Token
	files files
	log   *slog.Logger
	now   atomic.Pointer[state]
	renew chan struct{}
	// lastDoubt is when a server last did not believe a certificate, in seconds.
	lastDoubt atomic.Int64
}

// Open reads the node's identity from disk, or joins the cluster. It waits for a server that cannot be reached until ctx
// ends, and returns at once with ErrWrongCA, ErrBadToken, ErrNameTaken or ErrRefused, which waiting does not cure.
func Open(ctx context.Context, cfg Config) (*Identity, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	id := &Identity{cfg: cfg, files: files{cfg.Dir}, log: cfg.Log, renew: make(chan struct{}, 1)}
	var tokenErr error
	if id.token, tokenErr = joinapi.ParseToken(cfg.Token); tokenErr != nil && cfg.Token != "" {
		return nil, tokenErr
	}
	old, err := id.files.load()
	if err == nil {
		err = id.mine(old)
	}
	if err == nil {
		id.now.Store(old)
		return id, nil
	}
	if tokenErr != nil {
		return nil, fmt.Errorf("the node has no identity of its own (%w), so it needs a token to join", err)
	}
	id.log.Info("joining the cluster", "server", cfg.Server, "node", cfg.NodeName, "because", err)
	return id, id.joinUntilDone(ctx)
}

// mine checks that a state on disk is of the cluster that the token names and of this node.
func (id *Identity) mine(s *state) error {
	if hash, err := joinapi.HashBundle(s.caPEM); err != nil || id.token.Hash != "" && hash != id.token.Hash {
		return errors.New("the files are of another cluster")
	}
	if cn := s.leaves[leafClient].Leaf.Subject.CommonName; !strings.HasSuffix(cn, ":"+id.cfg.NodeName) {
		return fmt.Errorf("the files are of %s", cn)
	}
	return nil
}

func final(err error) bool {
	for _, e := range []error{ErrWrongCA, ErrBadToken, ErrNameTaken, ErrRefused, errDamaged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (id *Identity) joinUntilDone(ctx context.Context) error {
	said := ""
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		err := id.join(ctx)
		if err == nil || final(err) {
			return err
		}
		if err.Error() != said {
			said = err.Error()
			id.log.Warn("cannot join yet", "server", id.cfg.Server, "err", err)
		}
		select {
		case <-id.cfg.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("joining %s: %w", id.cfg.Server, err)
		}
	}
}

func (id *Identity) join(ctx context.Context) error {
	ca, err := id.fetchCA(ctx)
	if err != nil {
		return err
	}
	return id.update(ctx, ca, nil)
}

// update gets new certificates and makes them the ones in force.
func (id *Identity) update(ctx context.Context, ca []byte, old *state) error {
	next, keys, err := id.request(ctx, ca, old)
	if err != nil {
		return err
	}
	if err := id.files.save(next, keys); err != nil {
		return err
	}
	id.now.Store(next)
	return nil
}

// Run renews the certificates after two thirds of their life, when they are not in force, or when Renew is called, until ctx ends.
func (id *Identity) Run(ctx context.Context) error {
	failed := time.Duration(0)
	for {
		now, s := id.cfg.Now(), id.now.Load()
		wait := failed
		if !s.due(now) {
			wait = max(s.renewAt().Sub(now), failed)
		}
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-id.renew:
			asked = true
		case <-id.cfg.After(wait): // earlier too, when the clock was set
		}
		if !asked && !id.now.Load().due(id.cfg.Now()) {
			continue
		}
		err := id.refresh(ctx)
		switch {
		case err == nil:
			failed = 0
			id.log.Info("renewed the node's certificates", "until", id.now.Load().leaves[leafClient].Leaf.NotAfter)
		case ctx.Err() == nil:
			failed = min(max(2*failed, time.Second), 5*time.Minute)
			id.log.Warn("cannot renew the node's certificates yet", "err", err)
			if asked {
				id.Renew()
				select {
				case <-id.cfg.After(failed):
				case <-ctx.Done():
				}
			}
		}
	}
}

// refresh renews with the certificate there is, also one that has expired: the server knows its key. By the token if the server does not take it.
func (id *Identity) refresh(ctx context.Context) error {
	old := id.now.Load()
	err := id.update(ctx, old.caPEM, old)
	if err != nil && id.token.Secret != "" && ctx.Err() == nil && !old.inForce(id.cfg.Now()) {
		err = id.join(ctx)
	}
	return err
}

// Renew makes Run get new certificates now, e.g. because the node's addresses have changed.
func (id *Identity) Renew() {
	select {
	case id.renew <- struct{}{}:
	default:
	}
}

// doubted is called when a server does not believe a certificate that looks good here: it is renewed, at most once a minute.
func (id *Identity) doubted() {
	now, last := id.cfg.Now().Unix(), id.lastDoubt.Load()
	if (now-last >= 60 || now < last) && id.lastDoubt.CompareAndSwap(last, now) {
		id.Renew()
	}
}

// Client is system:node:<name>'s certificate, Proxy is system:kube-proxy's; both fit tls.Config.GetClientCertificate.
func (id *Identity) Client(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return id.now.Load().leaves[leafClient], nil
}

// Proxy is system:kube-proxy's certificate.
func (id *Identity) Proxy(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return id.now.Load().leaves[leafProxy], nil
}

// Serving is the kubelet's certificate; it fits tls.Config.GetCertificate.
func (id *Identity) Serving(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return id.now.Load().leaves[leafServing], nil
}

// Roots are the cluster's authorities, RootsPEM the same in PEM.
func (id *Identity) Roots() *x509.CertPool { return id.now.Load().roots }

// RootsPEM are the cluster's authorities.
func (id *Identity) RootsPEM() []byte { return id.now.Load().caPEM }

// Cluster is what the node was told at the last join or renewal.
func (id *Identity) Cluster() joinapi.Cluster { return id.now.Load().cluster }

// ClientTLS is a configuration towards the API servers with the node's certificate in force at each handshake.
func (id *Identity) ClientTLS() *tls.Config { return id.clientTLS(id.Client) }

// ProxyTLS is the same with system:kube-proxy's certificate.
func (id *Identity) ProxyTLS() *tls.Config { return id.clientTLS(id.Proxy) }

func (id *Identity) clientTLS(cert func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: id.Roots(), ServerName: joinapi.ServerName, GetClientCertificate: cert, Time: id.cfg.Now}
}
