package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

const (
	connections = 512 // TCP, at the same time
	bindAgain   = time.Second
)

// Source is where names come from; agent/cluster implements it. What it returns is never changed.
type Source interface {
	Synced() <-chan struct{}
	ServiceKeys() []types.NamespacedName
	Service(types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice)
	OnServices(changed func(types.NamespacedName)) (stop func())
	HasNamespace(name string) bool
}

// Config of a Server. Source and Addrs are needed.
type Config struct {
	Source Source
	// Addrs are the cluster DNS addresses, one a family. Run puts them on the loopback device.
	Addrs []netip.Addr
	// Port is 53 unless a test says otherwise.
	Port uint16
	// Domain of the cluster; the default is wellknown's.
	Domain string
	// Ranges are the cluster's pod and Service CIDRs, whose addresses have no names elsewhere.
	Ranges []netip.Prefix
	// Upstreams are asked for other names; without any, those of ResolvConf (/etc/resolv.conf).
	Upstreams  []netip.AddrPort
	ResolvConf string
	// Stubs are domains that are asked of other servers.
	Stubs []Stub
	Log   *slog.Logger
}

// Server is cluster DNS on one node.
type Server struct {
	cfg       Config
	log       *slog.Logger
	answerer  *answerer
	forwarder *forwarder
	// update is held while a Service's records are made, so that the newest state is written last.
	update  sync.Mutex
	synced  atomic.Bool
	running atomic.Pointer[context.Context]
}

// New makes a server. It opens no socket.
func New(cfg Config) (*Server, error) {
	if cfg.Source == nil || len(cfg.Addrs) == 0 {
		return nil, errors.New("dns: Source and Addrs are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Domain == "" {
		cfg.Domain = wellknown.DefaultClusterDomain
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Port == 0 {
		cfg.Port = 53
	}
	own := map[netip.Addr]bool{}
	for _, a := range cfg.Addrs {
		own[a] = true
	}
	suffix := "." + strings.ToLower(strings.Trim(cfg.Domain, ".")) + "."
	if err := checkForwarding(cfg, suffix); err != nil {
		return nil, err
	}
	up := &upstreams{fixed: cfg.Upstreams, path: cfg.ResolvConf, own: own, now: time.Now}
	return &Server{
		cfg: cfg, log: cfg.Log.With("component", "dns"),
		answerer: &answerer{zone: newZone(), suffix: suffix, addrs: cfg.Addrs,
			ranges: cfg.Ranges, hasNamespace: cfg.Source.HasNamespace},
		forwarder: newForwarder(up, cfg.Stubs, time.Now),
	}, nil
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.running.Store(&ctx)
	defer s.cfg.Source.OnServices(s.changed)()
	var all sync.WaitGroup
	all.Go(func() { s.fill(ctx) })
	for _, addr := range s.cfg.Addrs {
		for _, network := range []string{"udp", "tcp"} {
			all.Go(func() { s.listen(ctx, network, netip.AddrPortFrom(addr, s.cfg.Port)) })
		}
	}
	all.Wait()
	return nil
}

// fill reads everything once, when the source is complete.
func (s *Server) fill(ctx context.Context) {
	select {
	case <-s.cfg.Source.Synced():
	case <-ctx.Done():
		return
	}
	for _, key := range s.cfg.Source.ServiceKeys() {
		s.changed(key)
	}
	s.synced.Store(true)
}

func (s *Server) ready() bool { return s.synced.Load() }

// changed brings one Service's records up to date.
func (s *Server) changed(key types.NamespacedName) {
	s.update.Lock()
	defer s.update.Unlock()
	svc, eps := s.cfg.Source.Service(key)
	s.answerer.zone.put(key, recordsOf(svc, eps))
}

// listen serves one socket, and opens it again when it breaks.
func (s *Server) listen(ctx context.Context, network string, at netip.AddrPort) {
	told := ""
	for ctx.Err() == nil {
		err := s.serve(ctx, network, at)
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != told {
			told = err.Error()
			s.log.Error("cluster DNS does not listen; trying again", "address", at, "network", network, "error", err)
		}
		select {
		case <-time.After(bindAgain):
		case <-ctx.Done():
		}
	}
}

func (s *Server) serve(ctx context.Context, network string, at netip.AddrPort) error {
	if err := ensureAddress(at.Addr()); err != nil {
		return err
	}
	server := &dns.Server{Handler: s, UDPSize: 4096, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		IdleTimeout: func() time.Duration { return 10 * time.Second }, MaxTCPQueries: 1024}
	if network == "udp" {
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, network, at.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		server.PacketConn = conn
	} else {
		listener, err := (&net.ListenConfig{}).Listen(ctx, network, at.String())
		if err != nil {
			return err
		}
		defer listener.Close()
		server.Listener = netutil.LimitListener(listener, connections)
	}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	stopped := make(chan error, 1)
	go func() { stopped <- server.ActivateAndServe() }()
	select {
	case err := <-stopped:
		return err
	case <-started:
	}
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		server.Shutdown()
		<-stopped
		return nil
	}
}

// ensureAddress puts an address on the loopback device, with scope host: nothing chooses it as a source by itself.
func ensureAddress(addr netip.Addr) error {
	if addr.IsLoopback() {
		return nil
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = netlink.AddrReplace(lo, loopbackAddress(addr))
	}
	if err != nil {
		return fmt.Errorf("put address %s on lo: %w", addr, err)
	}
	return nil
}

func loopbackAddress(addr netip.Addr) *netlink.Addr {
	bits := addr.BitLen()
	a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, bits)}, Scope: unix.RT_SCOPE_HOST}
	if addr.Is6() {
		a.Flags = unix.IFA_F_NODAD
	} else {
		a.Label = addressLabel
	}
	return a
}

// addressLabel marks our IPv4 addresses on lo, so that they are found again without any saved state.
const addressLabel = "lo:skiff"

// CleanUp takes every address off lo that a server of ours ever put there.
func CleanUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("look up lo: %w", err)
	}
	addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the addresses of lo: %w", err)
	}
	var errs []error
	for _, a := range addrs {
		if a.Label != addressLabel {
			continue
		}
		if err := netlink.AddrDel(lo, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("take address %s off lo: %w", a.IP, err))
		}
	}
	return errors.Join(errs...)
}

// CleanUp takes the addresses away again.
func (s *Server) CleanUp(context.Context) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("look up lo: %w", err)
	}
	var errs []error
	for _, addr := range s.cfg.Addrs {
		if addr.IsLoopback() {
			continue
		}
		if err := netlink.AddrDel(lo, loopbackAddress(addr)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("take address %s off lo: %w", addr, err))
		}
	}
	return errors.Join(errs...)
}
