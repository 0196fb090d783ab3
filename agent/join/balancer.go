package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const (
	// attemptTimeout of a dial to one server.
	attemptTimeout = 4 * time.Second
	// badFor is how long a server that failed is tried after all others; doubled at each further failure up to badMost.
	badFor, badMost = 2 * time.Second, time.Minute
)

// BalancerConfig of a Balancer.
type BalancerConfig struct {
	// Servers known from joining ("host:port"); First is the one the node was configured with, always kept as the last resort.
	Servers []string
	First   string
	// Save is called with each new list, to keep it over restarts. Optional.
	Save func(servers []string) error
	// Dial connects to one server; default a plain dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time
	Log  *slog.Logger
}

// Balancer knows the API servers and dials one that works: the one that worked last, then the others in order, those that
// failed lately at the end. Safe for concurrent use.
type Balancer struct {
	cfg BalancerConfig

	mu      sync.Mutex
	servers []string // as last told, without duplicates
	last    string   // that worked
	health  map[string]*health
	changed chan struct{} // closed and replaced at each change of servers
}

type health struct {
	failures int
	badUntil time.Time
	conns    map[*balancedConn]struct{}
}

// NewBalancer makes one; it starts nothing.
func NewBalancer(cfg BalancerConfig) *Balancer {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Balancer{cfg: cfg, health: map[string]*health{}, changed: make(chan struct{})}
	b.servers = tidy(append(slices.Clone(cfg.Servers), cfg.First))
	return b
}

// Balancer makes the balancer of this identity's cluster, which keeps its list on disk beside the certificates.
func (id *Identity) Balancer() *Balancer {
	first := ""
	if u, err := url.Parse(id.cfg.Server); err == nil {
		first = u.Host
		if u.Port() == "" {
			first = net.JoinHostPort(u.Hostname(), "443")
		}
	}
	return NewBalancer(BalancerConfig{
		Servers: id.Cluster().Servers, First: first, Now: id.cfg.Now, Log: id.log,
		Save: func(servers []string) error {
			c := id.Cluster()
			c.Servers = servers
			return id.files.saveCluster(c)
		},
	})
}

func tidy(servers []string) []string {
	var out []string
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err == nil && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Servers are those known, the configured one included, and a channel that is closed when they change.
func (b *Balancer) Servers() ([]string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.servers), b.changed
}

// Set replaces the list. Connections to servers that are no longer in it are closed. An empty list changes nothing: the
// cluster always has a server, so whoever says otherwise does not know.
func (b *Balancer) Set(servers []string) {
	servers = tidy(servers)
	if len(servers) == 0 {
		return
	}
	slices.Sort(servers)
	told := slices.Clone(servers)
	servers = tidy(append(servers, b.cfg.First))
	b.mu.Lock()
	if slices.Equal(servers, b.servers) {
		b.mu.Unlock()
		return
	}
	b.servers = servers
	close(b.changed)
	b.changed = make(chan struct{})
	var gone []*balancedConn
	for addr, h := range b.health {
		if !slices.Contains(servers, addr) {
			for c := range h.conns {
				gone = append(gone, c)
			}
			delete(b.health, addr)
		}
	}
	b.mu.Unlock()
	for _, c := range gone {
		c.Close()
	}
	b.cfg.Log.Info("API servers changed", "servers", servers)
	if b.cfg.Save != nil {
		if err := b.cfg.Save(told); err != nil {
			b.cfg.Log.Warn("cannot keep the list of API servers", "err", err)
		}
	}
}

// Dial connects to an API server; the address asked for does not matter. It fits rest.Config.Dial and
// http.Transport.DialContext.
func (b *Balancer) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var errs []error
	for _, addr := range b.order() {
		conn, err := b.try(ctx, network, addr)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("no API server is known")
	}
	return nil, fmt.Errorf("no API server can be reached: %w", errors.Join(errs...))
}

// order of trying: healthy before unhealthy, the one that worked last first, else as listed; the unhealthy by when their
// time is up.
func (b *Balancer) order() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	rank := func(addr string) time.Duration {
		if h := b.health[addr]; h != nil && now.Before(h.badUntil) {
			return h.badUntil.Sub(now)
		}
		if addr == b.last {
			return -1
		}
		return 0
	}
	list := slices.Clone(b.servers)
	slices.SortStableFunc(list, func(x, y string) int {
		rx, ry := rank(x), rank(y)
		switch {
		case rx < ry:
			return -1
		case rx > ry:
			return 1
		}
		return 0
	})
	return list
}

func (b *Balancer) try(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	conn, err := b.cfg.Dial(ctx, network, addr)
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.health[addr]
	if h == nil {
		h = &health{conns: map[*balancedConn]struct{}{}}
		b.health[addr] = h
	}
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // the caller gave up: not the server's fault
			h.failures++
			h.badUntil = b.cfg.Now().Add(min(badFor<<min(h.failures-1, 6), badMost))
		}
		return nil, err
	}
	h.failures, h.badUntil = 0, time.Time{}
	b.last = addr
	c := &balancedConn{Conn: conn, balancer: b, addr: addr}
	h.conns[c] = struct{}{}
	return c, nil
}

// balancedConn is closed when its server leaves the cluster.
type balancedConn struct {
	net.Conn
	balancer *Balancer
	addr     string
}

func (c *balancedConn) Close() error {
	c.balancer.mu.Lock()
	if h := c.balancer.health[c.addr]; h != nil {
		delete(h.conns, c)
	}
	c.balancer.mu.Unlock()
	return c.Conn.Close()
}

// Follow keeps the list as the Endpoints of default/kubernetes say, until ctx ends.
func (b *Balancer) Follow(ctx context.Context, client kubernetes.Interface) error {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		began := b.cfg.Now()
		err := b.followOnce(ctx, client)
		if b.cfg.Now().Sub(began) > time.Minute {
			wait = time.Second
		}
		if err != nil && ctx.Err() == nil {
			b.cfg.Log.Debug("following the API servers", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

func (b *Balancer) followOnce(ctx context.Context, client kubernetes.Interface) error {
	opts := metav1.ListOptions{FieldSelector: "metadata.name=kubernetes"}
	list, err := client.CoreV1().Endpoints(metav1.NamespaceDefault).List(ctx, opts) //nolint:staticcheck // one object that names every server, whatever its family
	if err != nil {
		return err
	}
	for i := range list.Items {
		b.Set(addressesOf(&list.Items[i]))
	}
	opts.ResourceVersion = list.ResourceVersion
	w, err := client.CoreV1().Endpoints(metav1.NamespaceDefault).Watch(ctx, opts)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, w.Stop)
	defer func() {
		if stop() {
			w.Stop()
		}
	}()
	for event := range w.ResultChan() {
		if e, ok := event.Object.(*corev1.Endpoints); ok && event.Type != watch.Deleted {
			b.Set(addressesOf(e))
		}
	}
	return ctx.Err()
}

func addressesOf(e *corev1.Endpoints) []string {
	var out []string
	for _, sub := range e.Subsets {
		for _, p := range sub.Ports {
			for _, a := range sub.Addresses {
				if _, err := netip.ParseAddr(a.IP); err == nil && (p.Name == "https" || len(sub.Ports) == 1) {
					out = append(out, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
				}
			}
		}
	}
	return out
}
