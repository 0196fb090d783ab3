package netproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/iptables"
)

const (
	// window is how long after the first change others are waited for, so that a Service and its slice are one write.
	window     = 2 * time.Millisecond
	retryFirst = 500 * time.Millisecond
	retryLast  = 30 * time.Second
)

// families in the order in which they are written.
var families = []iptables.Family{iptables.IPv4, iptables.IPv6}

// Source is where the proxy learns of Services; agent/cluster implements it. What it returns is never changed.
type Source interface {
	// Synced is closed when the source knows all Services.
	Synced() <-chan struct{}
	ServiceKeys() []types.NamespacedName
	// Service returns a Service, nil if there is none, and its slices.
	Service(types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice)
	// OnServices calls changed after each change of a Service or of its slices until stop is called.
	OnServices(changed func(types.NamespacedName)) (stop func())
}

// Config of a Proxy.
type Config struct {
	NodeName string
	Source   Source
	// ClusterCIDRs hold all pods. Their families are the proxy's.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs: what goes to an address of theirs that is no Service is refused at once.
	ServiceCIDRs []netip.Prefix
	// LocalAddrs are cluster IPs that this node serves itself, e.g. cluster DNS; they get no rules.
	LocalAddrs []netip.Addr
	// Rules has the writers of this machine and puts back what others remove; nil for one of the proxy's own, which does not run.
	Rules *iptables.Owner
	Log   *slog.Logger
}

// Proxy makes Services work on one node.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	families []*familyRules
	health   healthChecks

	wake chan struct{}
	mu   sync.Mutex
	zone string
	// dirty Services and pods (host ports) are to be rendered again.
	dirty     map[types.NamespacedName]bool
	hostPorts map[string][]HostPort
	dirtyPods map[string]bool
	waiting   []chan struct{}
}

// familyRules is what one family wants and the writer that brings it into the kernel.
type familyRules struct {
	family iptables.Family
	rules  *ruleset
	writer *iptables.Writer
	stale  staleUDP
}

// New makes a proxy. It changes nothing.
func New(cfg Config) (*Proxy, error) {
	if cfg.NodeName == "" || cfg.Source == nil || len(cfg.ClusterCIDRs) == 0 {
		return nil, errors.New("netproxy: NodeName, Source and ClusterCIDRs are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rules == nil {
		cfg.Rules = iptables.NewOwner(nil)
	}
	log := cfg.Log.With("component", "netproxy")
	p := &Proxy{
		cfg: cfg, log: log,
		health: healthChecks{log: log, servers: map[types.NamespacedName]*healthCheck{}},
		wake:   make(chan struct{}, 1),
		dirty:  map[types.NamespacedName]bool{}, hostPorts: map[string][]HostPort{}, dirtyPods: map[string]bool{},
	}
	for _, family := range families {
		if cidrs := ofFamily(cfg.ClusterCIDRs, family); len(cidrs) > 0 {
			p.families = append(p.families, &familyRules{
				family: family,
				rules:  newRuleset(newRenderer(cfg, family), ofFamily(cfg.ServiceCIDRs, family)),
				writer: cfg.Rules.Writer(family, chainPrefix),
			})
		}
	}
	return p, nil
}

func newRenderer(cfg Config, family iptables.Family) renderer {
	r := renderer{family: family, clusterCIDRs: ofFamily(cfg.ClusterCIDRs, family), skip: map[netip.Addr]bool{}}
	for _, a := range cfg.LocalAddrs {
		if a.Is4() == (family == iptables.IPv4) {
			r.skip[a] = true
		}
	}
	return r
}

func ofFamily(cidrs []netip.Prefix, family iptables.Family) (out []netip.Prefix) {
	for _, cidr := range cidrs {
		if cidr.Addr().Is4() == (family == iptables.IPv4) {
			out = append(out, cidr.Masked())
		}
	}
	return out
}

// SetHostPorts says which host ports a pod has now; none when it is gone. It returns at once; see Flush.
func (p *Proxy) SetHostPorts(podID string, ports []HostPort) {
	p.mu.Lock()
	if len(ports) == 0 {
		delete(p.hostPorts, podID)
	} else {
		p.hostPorts[podID] = slices.Clone(ports)
	}
	p.dirtyPods[podID] = true
	p.mu.Unlock()
	p.poke()
}

// Flush returns when all that changed before it was called is in the kernel.
func (p *Proxy) Flush(ctx context.Context) error {
	done := make(chan struct{})
	p.mu.Lock()
	p.waiting = append(p.waiting, done)
	p.mu.Unlock()
	p.poke()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Proxy) changed(key types.NamespacedName) {
	p.mu.Lock()
	p.dirty[key] = true
	p.mu.Unlock()
	p.poke()
}

func (p *Proxy) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run keeps the rules up to date until ctx ends. Until the source is complete it leaves what an earlier run left.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.cfg.Source.OnServices(p.changed)()
	defer p.health.close()
	select {
	case <-p.cfg.Source.Synced():
	case <-ctx.Done():
		return nil
	}
	for _, key := range p.cfg.Source.ServiceKeys() {
		p.changed(key)
	}
	p.poke()
	if err := allowLocalnet(p.families); err != nil {
		p.log.Warn("node ports will not work on 127.0.0.1", "error", err)
	}
	var retry <-chan time.Time
	delay := retryFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
			pause(ctx, window)
		case <-retry:
		}
		retry = nil
		if err := p.sync(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("Services are not up to date on this node", "error", err, "retryIn", delay)
			retry, delay = time.After(delay), min(2*delay, retryLast)
		} else {
			delay = retryFirst
		}
	}
}

// sync is one round: render what is dirty, write what differs, forget stale connections.
func (p *Proxy) sync(ctx context.Context) error {
	waiting := p.observe()
	var errs []error
	for _, f := range p.families {
		plan, err := f.writer.Apply(ctx, f.rules.rules())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !plan.Empty() {
			p.log.Debug("rules written", "family", int(f.family), "chains", plan.Chains())
		}
		if !f.stale.empty() {
			if err := f.stale.forget(f.family); err != nil {
				p.log.Warn("conntrack", "error", err)
			}
			f.stale = staleUDP{}
		}
	}
	if err := errors.Join(errs...); err != nil {
		p.mu.Lock()
		p.waiting = append(waiting, p.waiting...)
		p.mu.Unlock()
		return err
	}
	for _, done := range waiting {
		close(done)
	}
	return nil
}

// observe renders everything dirty into the rule sets and returns who waits for it.
func (p *Proxy) observe() (waiting []chan struct{}) {
	p.mu.Lock()
	dirty, pods := p.dirty, p.dirtyPods
	waiting, p.waiting = p.waiting, nil
	p.dirty, p.dirtyPods = map[types.NamespacedName]bool{}, map[string]bool{}
	ports := make(map[string][]HostPort, len(pods))
	for id := range pods {
		ports[id] = p.hostPorts[id]
	}
	p.mu.Unlock()
	at := p.place()
	for key := range dirty {
		svc, eps := p.cfg.Source.Service(key)
		for _, f := range p.families {
			f.put("service/"+key.String(), f.rules.render.render(portsOf(svc, eps, at, f.family)))
		}
		port, local := healthOf(svc, eps, p.cfg.NodeName)
		p.health.set(key, port, local)
	}
	for id, list := range ports {
		for _, f := range p.families {
			f.put("pod/"+id, f.rules.render.renderHostPorts(list))
		}
	}
	return waiting
}

func (f *familyRules) put(key string, now part) {
	old := f.rules.put(key, now)
	f.stale.changed(old, now)
}

// CleanUp removes everything that a proxy ever puts into the kernel's tables.
func (p *Proxy) CleanUp(ctx context.Context) error {
	var errs []error
	for _, f := range p.families {
		errs = append(errs, f.writer.CleanUp(ctx))
	}
	return errors.Join(errs...)
}

// CleanUp removes what any proxy ever put into the kernel's tables, of both families. It needs no saved state.
func CleanUp(ctx context.Context) error {
	var errs []error
	for _, family := range families {
		err := iptables.NewWriter(iptables.Host{Family: family}, chainPrefix).CleanUp(ctx)
		if !errors.Is(err, iptables.ErrMissing) { // no tables, no rules in them
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// allowLocalnet lets a connection to 127.0.0.1 leave for a pod.
func allowLocalnet(list []*familyRules) error {
	for _, f := range list {
		if f.family != iptables.IPv4 {
			continue
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644); err != nil {
			return fmt.Errorf("set net.ipv4.conf.all.route_localnet: %w", err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
