package podnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setupBridge makes the bridge what it shall be and returns its index.
func (n *Network) setupBridge(cidrs []netip.Prefix, mtu int) (int, error) {
	name := n.cfg.Bridge
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, stableMAC("bridge", n.cfg.NodeName)
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return 0, fmt.Errorf("create bridge %s: %w", name, err)
		}
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		return 0, fmt.Errorf("look up bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return 0, fmt.Errorf("device %s is there already and is a %s, not a bridge", name, link.Type())
	}
	if link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return 0, fmt.Errorf("set the MTU of %s to %d: %w", name, mtu, err)
		}
	}
	if err := n.setBridgeAddresses(link, cidrs); err != nil {
		return 0, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set %s up: %w", name, err)
	}
	return link.Attrs().Index, n.setServiceRoutes(link, cidrs)
}

// setBridgeAddresses puts the gateways on the bridge and takes away gateways of CIDRs that the node had before. Single
// addresses (/32, /128) on the bridge are others', e.g. cluster DNS.
func (n *Network) setBridgeAddresses(link netlink.Link, cidrs []netip.Prefix) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", n.cfg.Bridge, err)
	}
	want := map[netip.Prefix]bool{}
	for _, cidr := range cidrs {
		want[netip.PrefixFrom(gateway(cidr), cidr.Bits())] = true
	}
	for i := range have {
		p := prefixOf(have[i].IPNet)
		switch {
		case want[p]:
			delete(want, p)
		case p.IsSingleIP() || p.Addr().IsLinkLocalUnicast():
		default:
			n.log.Warn("the node's pod CIDR changed", "old", p)
			if err := netlink.AddrDel(link, &have[i]); err != nil {
				return fmt.Errorf("remove address %s from %s: %w", p, n.cfg.Bridge, err)
			}
		}
	}
	for p := range want {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s to %s: %w", p, n.cfg.Bridge, err)
		}
	}
	return nil
}

// setServiceRoutes leads Service addresses to the bridge; netproxy rewrites them before they get there. It gives the
// node's own connections to Services a source address that every pod can answer.
func (n *Network) setServiceRoutes(link netlink.Link, cidrs []netip.Prefix) error {
	for _, service := range n.cfg.ServiceCIDRs {
		for _, cidr := range cidrs {
			if cidr.Addr().Is4() != service.Addr().Is4() {
				continue
			}
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(service.Masked()), Src: gateway(cidr).AsSlice(), Scope: netlink.SCOPE_LINK}
			if service.Addr().Is6() {
				route.Scope = netlink.SCOPE_UNIVERSE
			}
			if err := netlink.RouteReplace(route); err != nil {
				return fmt.Errorf("route Service addresses %s to %s: %w", service, n.cfg.Bridge, err)
			}
		}
	}
	return nil
}

// removeBridge deletes the veths on the bridge, then the bridge.
func (n *Network) removeBridge() error {
	bridge, err := netlink.LinkByName(n.cfg.Bridge)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ports, err := bridgePorts(bridge.Attrs().Index)
	for _, port := range ports {
		err = errors.Join(err, ignoreNotFound(netlink.LinkDel(port)))
	}
	return errors.Join(err, ignoreNotFound(netlink.LinkDel(bridge)))
}

// bridgePorts are the veths whose other end is a pod's.
func bridgePorts(bridge int) ([]netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var ports []netlink.Link
	for _, link := range links {
		if link.Attrs().MasterIndex == bridge && link.Type() == "veth" {
			ports = append(ports, link)
		}
	}
	return ports, nil
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return ignoreNotFound(err)
	}
	return ignoreNotFound(netlink.LinkDel(link))
}

func isNotFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// stableMAC is the same for the same role and name, on every machine and after every boot.
func stableMAC(role, name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("skiff " + role + " " + name))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^0x01 | 0x02 // unicast, locally administered
	return mac
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
