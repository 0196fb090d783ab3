package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"codeberg.org/skiff/skiff/internal/restmetrics"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/openapi"
	"codeberg.org/skiff/skiff/server/apiserver/proxy"
	"codeberg.org/skiff/skiff/server/apiserver/wire"
)

// Server serves the API. It is safe for concurrent use.
type Server struct {
	cfg       Config
	metrics   *metrics
	gatherers prometheus.Gatherers
	discovery *discovery.Documents
	openapi   *openapi.Documents
	proxy     *proxy.Proxy
	public    map[string]bool
	inflight  inflight
	streams   *streams
	heavy     heavy
	health    *health
	started   time.Time
	encodings *encodings
	// stopping is closed when Run ends, to end watches and other streams.
	stopping chan struct{}
	stop     sync.Once
}

// New wires a server. It starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		discovery: discovery.New(cfg.Catalogue),
		openapi:   openapi.New(cfg.Catalogue, cfg.Version.GitVersion),
		public:    map[string]bool{"/cacerts": true},
		streams:   newStreams(cfg.MaxStreams),
		heavy:     newHeavy(),
		health:    newHealth(),
		started:   cfg.Now(),
		encodings: newEncodings(),
		stopping:  make(chan struct{}),
	}
	s.proxy = proxy.New(proxy.Config{Dial: cfg.DialNode, KubeletTLS: cfg.KubeletTLS, Log: cfg.Log})
	for _, p := range cfg.PublicPaths {
		s.public[p] = true
	}
	var err error
	// The default registry has what etcd and the Go runtime tell of themselves.
	s.gatherers = prometheus.Gatherers{cfg.Metrics, prometheus.DefaultGatherer, restmetrics.Gatherer}
	if s.metrics, err = newMetrics(cfg.Metrics, s); err != nil {
		return nil, fmt.Errorf("apiserver: register metrics: %w", err)
	}
	return s, nil
}

// Handler serves requests that came in some other way than through Run.
func (s *Server) Handler() http.Handler { return s }

// Run serves TLS at Config.Listen until ctx ends, then lets requests finish for a moment.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listen == "" {
		<-ctx.Done()
		s.endStreams()
		return nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("apiserver: listen on %s: %w", s.cfg.Listen, err)
	}
	return s.Serve(ctx, ln)
}

// shutdownGrace is how long requests may take to finish when the server stops.
const shutdownGrace = 5 * time.Second

// Serve serves TLS on a listener, which it closes.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		TLSConfig:         s.tlsConfig(),
		ReadHeaderTimeout: s.cfg.HandshakeTimeout,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	// Many watches share a client's connection. One that says nothing for a minute is asked whether it still lives.
	h2 := &http2.Server{MaxConcurrentStreams: 1000, IdleTimeout: 90 * time.Second, ReadIdleTimeout: time.Minute, PingTimeout: 20 * time.Second}
	if err := http2.ConfigureServer(srv, h2); err != nil {
		return fmt.Errorf("apiserver: configure HTTP/2: %w", err)
	}
	wire.ServeHTTP2(srv, h2, s.cfg.SendTimeout)
	ln = newBoundedListener(ln, s.cfg.MaxConnections, s.cfg.MaxConnectionsPerAddress)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	select {
	case err := <-done:
		s.endStreams()
		return fmt.Errorf("apiserver: serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.endStreams()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) endStreams() { s.stop.Do(func() { close(s.stopping) }) }

// tlsConfig asks for a client certificate and takes any: whether it is good is for authentication to say, with a 401.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     max(s.cfg.MinTLS, tls.VersionTLS12),
		CipherSuites:   s.cfg.CipherSuites,
		GetCertificate: s.cfg.GetCertificate,
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      s.cfg.ClientCAs,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}
