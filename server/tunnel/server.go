package tunnel

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// ErrNoTunnel: the node is not connected to this server.
var ErrNoTunnel = errors.New("no tunnel")

// Config of a Server.
type Config struct {
	// ClientCAs verify the nodes' certificates.
	ClientCAs *x509.CertPool
	Now       func() time.Time
	Log       *slog.Logger
	// PingEvery idle tunnel, and how long an answer may take; defaults 20 s and 10 s.
	PingEvery, PingTimeout time.Duration
}

// Server holds the tunnels of the connected nodes. It is an http.Handler for joinapi.TunnelPath, to be served without
// authentication in front of it.
type Server struct {
	cfg Config
	h2  *http2.Transport

	mu      sync.Mutex
	tunnels map[string]*tunnel // by node
	closed  bool
	wg      sync.WaitGroup
}

type tunnel struct {
	node string
	cc   *http2.ClientConn
	conn *endedConn
}

// New makes a server. It starts nothing.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PingEvery == 0 {
		cfg.PingEvery = 20 * time.Second
	}
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = 10 * time.Second
	}
	return &Server{
		cfg: cfg, tunnels: map[string]*tunnel{},
		h2: &http2.Transport{AllowHTTP: true, DisableCompression: true, StrictMaxConcurrentStreams: true, ReadIdleTimeout: cfg.PingEvery, PingTimeout: cfg.PingTimeout},
	}
}

// Run waits until ctx ends, then closes every tunnel.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	for _, t := range s.tunnels {
		t.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Nodes returns the names of the connected nodes.
func (s *Server) Nodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.tunnels))
	for n := range s.tunnels {
		names = append(names, n)
	}
	return names
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	node, err := joinapi.NodeOf(r.TLS, s.cfg.ClientCAs, s.cfg.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), joinapi.Upgrade) || r.ProtoMajor != 1 {
		http.Error(w, "expected an upgrade to "+joinapi.Upgrade, http.StatusUpgradeRequired)
		return
	}
	if err := s.accept(w, node); err != nil {
		s.cfg.Log.Warn("tunnel was not opened", "node", node, "err", err)
	}
}

// accept takes the connection over; it no longer belongs to the HTTP server when it returns.
func (s *Server) accept(w http.ResponseWriter, node string) error {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return err
	}
	conn := &endedConn{Conn: raw, r: buffered.Reader, ended: make(chan struct{})}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return err
	}
	if _, err := fmt.Fprintf(raw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", joinapi.Upgrade); err != nil {
		conn.Close()
		return err
	}
	cc, err := s.h2.NewClientConn(conn)
	if err != nil {
		conn.Close()
		return err
	}
	return s.register(&tunnel{node: node, cc: cc, conn: conn})
}

func (s *Server) register(t *tunnel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		t.conn.Close()
		return errors.New("the server is stopping")
	}
	if old := s.tunnels[t.node]; old != nil {
		old.conn.Close()
	}
	s.tunnels[t.node] = t
	s.cfg.Log.Info("tunnel opened", "node", t.node)
	s.wg.Go(func() {
		<-t.conn.ended
		s.mu.Lock()
		if s.tunnels[t.node] == t {
			delete(s.tunnels, t.node)
			s.cfg.Log.Info("tunnel closed", "node", t.node)
		}
		s.mu.Unlock()
		t.cc.Close()
	})
	return nil
}

// Dial connects to addr ("host:port", an IP address) from the node. With an empty node any connected node will do: for
// pod and Service addresses, which every node reaches. Without a tunnel the error wraps ErrNoTunnel. ctx bounds the
// dialling only.
func (s *Server) Dial(ctx context.Context, node, addr string) (net.Conn, error) {
	t := s.find(node)
	if t == nil {
		if node == "" {
			return nil, fmt.Errorf("dialling %s: %w: no node is connected to this server", addr, ErrNoTunnel)
		}
		return nil, fmt.Errorf("dialling %s on node %s: %w: the node is not connected to this server", addr, node, ErrNoTunnel)
	}
	conn, err := t.dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dialling %s on node %s: %w", addr, t.node, err)
	}
	return conn, nil
}

func (s *Server) find(node string) *tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node != "" || len(s.tunnels) == 0 {
		return s.tunnels[node]
	}
	skip := rand.IntN(len(s.tunnels))
	for _, t := range s.tunnels {
		if skip--; skip < 0 {
			return t
		}
	}
	return nil
}
