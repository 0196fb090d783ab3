package join

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// ErrNotAllowed: the servers may not reach this from the node.
var ErrNotAllowed = errors.New("not allowed through the tunnel")

// Reach is what the servers may dial from this node: the kubelet on the node itself, pods, and Services.
type Reach struct {
	KubeletPort int
	// ClusterCIDRs and ServiceCIDRs of the cluster.
	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// Own addresses of the node; default those of its interfaces. On them only the kubelet's port is allowed, also where
	// they lie in a cluster range, as the bridge's do.
	Own func() ([]netip.Addr, error)
}

// NewReach takes the ranges as the cluster tells them.
func NewReach(kubeletPort int, clusterCIDRs, serviceCIDRs []string) (*Reach, error) {
	r := &Reach{KubeletPort: kubeletPort, Own: ownAddresses}
	for _, l := range []struct {
		in  []string
		out *[]netip.Prefix
	}{{clusterCIDRs, &r.ClusterCIDRs}, {serviceCIDRs, &r.ServiceCIDRs}} {
		for _, s := range l.in {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("cluster range: %w", err)
			}
			*l.out = append(*l.out, p)
		}
	}
	return r, nil
}

// Check allows or refuses host:port; the host must be an address, so that no name can change between check and use.
func (r *Reach) Check(hostport string) error {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAllowed, err)
	}
	addr, err := netip.ParseAddr(host)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 {
		return fmt.Errorf("%w: %q is not an address and a port", ErrNotAllowed, hostport)
	}
	addr = addr.Unmap().WithZone("")
	own, err := r.Own()
	if err != nil {
		return fmt.Errorf("%w: reading the node's addresses: %w", ErrNotAllowed, err)
	}
	mine := addr.IsLoopback() || addr.IsUnspecified()
	for _, a := range own {
		mine = mine || a == addr
	}
	if mine {
		if int(n) == r.KubeletPort && !addr.IsUnspecified() {
			return nil
		}
		return fmt.Errorf("%w: of the node itself only the kubelet's port %d", ErrNotAllowed, r.KubeletPort)
	}
	for _, list := range [][]netip.Prefix{r.ClusterCIDRs, r.ServiceCIDRs} {
		for _, p := range list {
			if p.Contains(addr) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: %s is no pod, no Service and not this node", ErrNotAllowed, addr)
}

func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, nil
}
