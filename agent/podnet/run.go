package podnet

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

const retryAfter = 5 * time.Second

// Run keeps the routes to the other nodes' pods, publishes this node's overlay address, and calls Setup when this node is
// given a pod CIDR. It returns when ctx ends; what is in the kernel stays, for pods outlive skiff.
func (n *Network) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	stop := n.cfg.Nodes.OnNodes(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	select {
	case <-n.cfg.Nodes.Synced():
	case <-ctx.Done():
		return nil
	}
	var told []string
	n.mu.Lock()
	n.poke = func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	n.mu.Unlock()
	for {
		problems, err := n.reconcile(ctx)
		if !slices.Equal(problems, told) {
			for _, p := range problems {
				n.log.Warn("a node's pods cannot be reached", "reason", p)
			}
			told = problems
		}
		var retry <-chan time.Time
		if err != nil && ctx.Err() == nil {
			n.log.Error("pod network", "error", err)
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
	}
}

// SetNodeIPs says which addresses the node has now, and that devices may have changed. The overlay moves to the first of them.
func (n *Network) SetNodeIPs(ips []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodeIPs = slices.Clone(ips)
	if n.poke != nil {
		n.poke()
	}
}

// followAddress moves the overlay to the node's address of now; what was set up for the old one is set up again.
func (n *Network) followAddress(ctx context.Context) error {
	n.mu.Lock()
	ips, cidrs := n.nodeIPs, slices.Clone(n.cidrs)
	n.mu.Unlock()
	if len(ips) == 0 || n.overlay.local == ips[0] {
		return nil
	}
	if _, _, err := underlayOf(ips[0]); err != nil {
		return err // not there yet, or not any more: another event follows
	}
	n.log.Info("the pod network moves to another address", "from", n.overlay.local, "to", ips[0])
	n.overlay.local = ips[0]
	if len(cidrs) == 0 {
		return nil
	}
	return n.Setup(ctx, cidrs) // the MTU may be another
}

// reconcile is one round: observe the nodes, decide, apply.
func (n *Network) reconcile(ctx context.Context) (problems []string, err error) {
	if err := n.followAddress(ctx); err != nil {
		return nil, err
	}
	nodes := n.cfg.Nodes.Nodes()
	if i := slices.IndexFunc(nodes, func(node *corev1.Node) bool { return node.Name == n.cfg.NodeName }); i >= 0 {
		if err := n.reconcileSelf(ctx, nodes[i]); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	cidrs, mtu := n.cidrs, n.mtu
	n.mu.Unlock()
	if len(cidrs) == 0 || !n.overlay.local.IsValid() {
		return nil, nil
	}
	peers, problems := peersOf(nodes, n.cfg.NodeName, n.cfg.ClusterCIDRs)
	peers = slices.DeleteFunc(peers, func(p peer) bool {
		return len(p.cidrs) == 0 || p.vtep.underlay.Is4() != n.overlay.local.Is4()
	})
	plan, err := n.overlay.sync(peers, mtu, gateways(cidrs))
	if !plan.empty() {
		n.log.Debug("overlay changed", "removed", plan.remove, "added", plan.add)
	}
	return problems, err
}

func (n *Network) reconcileSelf(ctx context.Context, self *corev1.Node) error {
	n.mu.Lock()
	have := n.cidrs
	n.mu.Unlock()
	if want := PodCIDRs(self); len(want) > 0 && !slices.Equal(want, have) {
		if err := n.Setup(ctx, append([]netip.Prefix(nil), want...)); err != nil {
			return err
		}
	}
	if n.cfg.PublishVTEP == nil || !n.overlay.local.IsValid() {
		return nil
	}
	if value := n.overlay.vtep().String(); self.Annotations[wellknown.AnnotationVTEP] != value {
		return n.cfg.PublishVTEP(ctx, value)
	}
	return nil
}
