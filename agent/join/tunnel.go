package join

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
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

// TunnelConfig of a Tunnel.
type TunnelConfig struct {
	// TLS is the client configuration with the node's certificate (Identity.ClientTLS).
	TLS func() *tls.Config
	// Servers to keep a tunnel to, and a channel that is closed when they change (Balancer.Servers).
	Servers func() ([]string, <-chan struct{})
	// Allow says what the servers may reach from here.
	Allow *Reach
	// Dial connects to a server, DialTarget to what the server asked for; both default to a plain dialer.
	Dial, DialTarget func(ctx context.Context, network, address string) (net.Conn, error)
	Log              *slog.Logger
}

const (
	// The wait before connecting again doubles from first to most; it starts over after a tunnel that lasted.
	tunnelFirstWait, tunnelMostWait = 100 * time.Millisecond, 10 * time.Second
	tunnelHandshake                 = 10 * time.Second
	targetTimeout                   = 10 * time.Second
	// The servers ping every 20 s; if nothing comes for this long, the agent asks too, and then gives up.
	tunnelSilence, tunnelPing = 45 * time.Second, 10 * time.Second
	maxStreams                = 8192
)

// Tunnel keeps a connection to each server, by which the servers reach this node.
type Tunnel struct{ cfg TunnelConfig }

// NewTunnel makes one; it starts nothing.
func NewTunnel(cfg TunnelConfig) *Tunnel {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: tunnelHandshake}).DialContext
	}
	if cfg.DialTarget == nil {
		cfg.DialTarget = (&net.Dialer{Timeout: targetTimeout}).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Tunnel{cfg}
}

// Run keeps the tunnels up until ctx ends and every connection through them has ended.
func (t *Tunnel) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := map[string]context.CancelFunc{}
	for {
		servers, changed := t.cfg.Servers()
		wanted := map[string]bool{}
		for _, addr := range servers {
			wanted[addr] = true
			if running[addr] != nil {
				continue
			}
			one, cancel := context.WithCancel(ctx)
			running[addr] = cancel
			wg.Go(func() { t.keep(one, addr) })
		}
		for addr, cancel := range running {
			if !wanted[addr] {
				cancel()
				delete(running, addr)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			for _, cancel := range running {
				cancel()
			}
			return nil
		}
	}
}

// keep connects to one server again and again.
func (t *Tunnel) keep(ctx context.Context, addr string) {
	log := t.cfg.Log.With("server", addr)
	said := ""
	for wait := tunnelFirstWait; ; wait = min(2*wait, tunnelMostWait) {
		began := time.Now()
		opened, err := t.once(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		if opened {
			log.Info("tunnel closed")
			said = ""
			if time.Since(began) > tunnelMostWait {
				wait = tunnelFirstWait
			}
		} else if err != nil && err.Error() != said {
			said = err.Error()
			log.Warn("cannot open the tunnel yet", "err", err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return
		}
	}
}

// once opens a tunnel and serves it until it breaks.
func (t *Tunnel) once(ctx context.Context, addr string) (opened bool, err error) {
	conn, err := t.open(ctx, addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	t.cfg.Log.Info("tunnel opened", "server", addr)
	var streams sync.WaitGroup
	srv := &http2.Server{
		MaxConcurrentStreams: maxStreams,
		ReadIdleTimeout:      tunnelSilence,
		PingTimeout:          tunnelPing,
		// What one stream may have in flight is far below what the tunnel may, so a target that does not read stops itself only.
		MaxUploadBufferPerStream:     256 << 10,
		MaxUploadBufferPerConnection: 128 << 20,
	}
	base, cancel := context.WithCancel(ctx)
	srv.ServeConn(conn, &http2.ServeConnOpts{
		Context:    base,
		BaseConfig: &http.Server{ErrorLog: log.New(io.Discard, "", 0)},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			streams.Add(1)
			defer streams.Done()
			t.serve(w, r)
		}),
	})
	cancel()
	streams.Wait()
	return true, nil
}

// open dials, shakes hands and switches protocols.
func (t *Tunnel) open(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tunnelHandshake)
	defer cancel()
	raw, err := t.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conf := t.cfg.TLS().Clone()
	conf.NextProtos = []string{"http/1.1"} // an upgrade needs it
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+joinapi.TunnelPath, nil)
	if err != nil {
		raw.Close()
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", joinapi.Upgrade)
	r := bufio.NewReader(conn)
	err = req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(r, req)
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		err = fmt.Errorf("the server answered %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("opening a tunnel: %w", err)
	}
	return &readerConn{conn, r}, nil
}

// readerConn reads first what came along with the answer. It hides the TLS connection, so that HTTP/2 does not look for
// its own handshake there.
type readerConn struct {
	net.Conn
	r io.Reader
}

func (c *readerConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// serve is one CONNECT stream.
func (t *Tunnel) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT is served here", http.StatusMethodNotAllowed)
		return
	}
	if err := t.cfg.Allow.Check(r.Host); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), targetTimeout)
	defer cancel()
	target, err := t.cfg.DialTarget(ctx, "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer target.Close()
	out := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	if out.Flush() != nil {
		return
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.Copy(target, r.Body); err != nil {
			target.Close() // cut by the server
		} else if half, ok := target.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	copyFlushing(w, out, target)
	target.Close()
	r.Body.Close()
	<-sent
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func copyFlushing(w io.Writer, out *http.ResponseController, r io.Reader) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			if out.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
