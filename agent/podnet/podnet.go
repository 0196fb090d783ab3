package podnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/iptables"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Nodes is where podnet learns of the cluster's nodes; agent/cluster implements it.
type Nodes interface {
	// Synced is closed when the source knows all nodes. Until then the routes of an earlier run stay as they are.
	Synced() <-chan struct{}
	// Nodes returns all nodes; they are not to be changed.
	Nodes() []*corev1.Node
	// OnNodes calls changed after each change of a node until stop is called. changed must not block.
	OnNodes(changed func()) (stop func())
}

// Config of a Network. Only NodeName, StateDir and ClusterCIDRs are needed.
type Config struct {
	NodeName string
	// NodeIPs are this node's addresses; the first one is the overlay's.
	NodeIPs []netip.Addr
	// ClusterCIDRs hold all pods' addresses. What leaves them gets the node's address.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs belong to the service proxy. They are routed to the bridge, so that the node itself reaches Services also without a default route.
	ServiceCIDRs []netip.Prefix
	StateDir     string
	// Bridge and VXLAN are the devices' names; the defaults are wellknown's.
	Bridge, VXLAN string
	// MTU of pods; 0: what is left of the underlay's after vxlan's headers.
	MTU int
	// Nodes feeds Run. PublishVTEP writes wellknown.AnnotationVTEP of this node.
	Nodes       Nodes
	PublishVTEP func(ctx context.Context, value string) error
	// OnReady is called after each Setup, on a goroutine of its own; it must return at once.
	OnReady func()
	// Rules has the writers of this machine and puts back what others remove; nil for one of the network's own, which does not run.
	Rules *iptables.Owner
	Log   *slog.Logger
}

// ErrNotReady is what Attach returns before Setup has been given the node's pod CIDRs.
var ErrNotReady = errors.New("the pod network is not ready: this node has no pod CIDR yet")

// Network is the pod network of one node.
type Network struct {
	cfg       Config
	log       *slog.Logger
	addresses *addresses
	overlay   *overlay

	// setupMu is held while Setup works; mu guards the fields below.
	setupMu sync.Mutex
	mu      sync.Mutex
	cidrs   []netip.Prefix // of this node, once Setup succeeded
	bridge  int            // its index
	mtu     int
	nodeIPs []netip.Addr
	poke    func() // has Run look again
}

// New reads the addresses in use from StateDir. It changes nothing.
func New(cfg Config) (*Network, error) {
	if cfg.NodeName == "" || cfg.StateDir == "" {
		return nil, errors.New("podnet: NodeName and StateDir are needed")
	}
	if cfg.Bridge == "" {
		cfg.Bridge = wellknown.BridgeName
	}
	if cfg.VXLAN == "" {
		cfg.VXLAN = wellknown.VXLANName
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rules == nil {
		cfg.Rules = iptables.NewOwner(nil)
	}
	addrs, err := openAddresses(filepath.Join(cfg.StateDir, "addresses"))
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, log: cfg.Log.With("component", "podnet"), addresses: addrs}
	n.overlay = &overlay{name: cfg.VXLAN, mac: stableMAC("vtep", cfg.NodeName), log: n.log}
	n.nodeIPs = cfg.NodeIPs
	if len(cfg.NodeIPs) > 0 {
		n.overlay.local = cfg.NodeIPs[0]
	}
	return n, nil
}

// Setup makes the bridge, its addresses and routes, the kernel settings and the rules for the node's pod CIDRs. It may be
// called again, with the same CIDRs or others.
func (n *Network) Setup(ctx context.Context, podCIDRs []netip.Prefix) error {
	n.setupMu.Lock()
	defer n.setupMu.Unlock()
	if len(podCIDRs) == 0 {
		return ErrNotReady
	}
	for i, cidr := range podCIDRs {
		podCIDRs[i] = cidr.Masked()
	}
	mtu, err := n.podMTU()
	if err != nil {
		return err
	}
	if err := n.addresses.setPools(podCIDRs); err != nil {
		return err
	}
	bridge, err := n.setupBridge(podCIDRs, mtu)
	if err != nil {
		return err
	}
	if err := n.setupSysctls(podCIDRs); err != nil {
		return err
	}
	if err := n.setupRules(ctx, podCIDRs); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidrs, n.bridge, n.mtu = podCIDRs, bridge, mtu
	if n.cfg.OnReady != nil {
		go n.cfg.OnReady()
	}
	return nil
}

// Ready tells whether Attach can work: nil, or why not.
func (n *Network) Ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) == 0 {
		return ErrNotReady
	}
	return nil
}

// Gateways are the bridge's addresses, one a family; none before Setup.
func (n *Network) Gateways() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return gateways(n.cidrs)
}

func gateways(cidrs []netip.Prefix) (out []netip.Addr) {
	for _, cidr := range cidrs {
		out = append(out, gateway(cidr))
	}
	return out
}

// gateway is the first address after the network's own.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }

// CleanUp removes everything that podnet ever puts into the kernel: the devices (and with them the pods' network) and
// the rules. Addresses on disk stay.
func (n *Network) CleanUp(ctx context.Context) error {
	n.setupMu.Lock()
	defer n.setupMu.Unlock()
	var errs []error
	errs = append(errs, n.removeBridge(), removeLink(n.cfg.VXLAN))
	for _, family := range []iptables.Family{iptables.IPv4, iptables.IPv6} {
		err := n.writer(family).CleanUp(ctx)
		if !errors.Is(err, iptables.ErrMissing) { // no tables, no rules in them
			errs = append(errs, err)
		}
	}
	n.mu.Lock()
	n.cidrs = nil
	n.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up the pod network: %w", err)
	}
	return nil
}
