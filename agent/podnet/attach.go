package podnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	podInterface = "eth0"
	carrierWait  = 100 * time.Millisecond
)

// Attach gives the network namespace at path netns an interface eth0 with the addresses of id, and brings up its
// loopback. Called again for the same id it returns the same addresses. The addresses stay with id until Detach, also
// when Attach fails.
func (n *Network) Attach(ctx context.Context, id, path string) ([]netip.Addr, error) {
	n.mu.Lock()
	cidrs, bridge, mtu := n.cidrs, n.bridge, n.mtu
	n.mu.Unlock()
	if len(cidrs) == 0 {
		return nil, ErrNotReady
	}
	addrs, err := n.addresses.claim(id)
	if err != nil {
		return nil, fmt.Errorf("attach %s to the pod network: %w", id, err)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("attach %s: open network namespace %s: %w", id, path, err)
	}
	defer ns.Close()
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("attach %s: enter network namespace %s: %w", id, path, err)
	}
	defer pod.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := pod.LinkByName(podInterface); err != nil {
		if err := plug(id, ns, bridge, mtu, addrs[0]); err != nil {
			return nil, err
		}
	}
	if err := configurePod(pod, addrs, cidrs); err != nil {
		return nil, fmt.Errorf("attach %s: in its namespace: %w", id, err)
	}
	return addrs, carrier(ctx, id, bridge)
}

// carrier waits until the port forwards. The kernel brings a link up in the background; a first packet in between would be
// lost, and sent again only after a second. Kernels since 6.9 catch up when asked for the link, older ones need a moment.
func carrier(ctx context.Context, id string, bridge int) error {
	port, err := netlink.LinkByName(hostInterface(id))
	if err != nil {
		return fmt.Errorf("attach %s: look up %s: %w", id, hostInterface(id), err)
	}
	deadline := time.Now().Add(carrierWait)
	for _, index := range []int{port.Attrs().Index, bridge} {
		for {
			link, err := netlink.LinkByIndex(index)
			if err != nil {
				return fmt.Errorf("attach %s: look up link %d: %w", id, index, err)
			}
			if link.Attrs().OperState == netlink.OperUp || time.Now().After(deadline) {
				break
			}
			select {
			case <-time.After(200 * time.Microsecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// plug makes the veth pair, the pod's end directly in its namespace, the node's end on the bridge.
func plug(id string, ns netns.NsHandle, bridge, mtu int, addr netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = hostInterface(id), mtu, bridge, net.FlagUp
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr = podInterface, netlink.NsFd(int(ns)), podMAC(addr)
	err := netlink.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) { // of an earlier sandbox of this id, whose namespace still lives
		if err := removeLink(attrs.Name); err != nil {
			return fmt.Errorf("attach %s: remove old %s: %w", id, attrs.Name, err)
		}
		err = netlink.LinkAdd(veth)
	}
	if err != nil {
		return fmt.Errorf("attach %s: create veth %s on the bridge: %w", id, attrs.Name, err)
	}
	// Where br_netfilter is active (Docker loads it), a Service's packets are rewritten inside the bridge and bridged on: one
	// to the very pod that sent it must be let out through the port it came in by.
	if err := netlink.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("attach %s: set hairpin mode of %s: %w", id, attrs.Name, err)
	}
	// The node's end has no address of its own; without IPv6 it needs no link-local one and sends nothing by itself.
	if err := writeSysctl("net/ipv6/conf/"+attrs.Name+"/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("attach %s: %w", id, err)
	}
	return nil
}

// configurePod sets addresses and routes inside; every step may have been done before.
func configurePod(pod *netlink.Handle, addrs []netip.Addr, cidrs []netip.Prefix) error {
	lo, err := pod.LinkByName("lo")
	if err == nil {
		err = pod.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth0, err := pod.LinkByName(podInterface)
	if err != nil {
		return fmt.Errorf("look up %s: %w", podInterface, err)
	}
	for _, addr := range addrs {
		a := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, addr.BitLen()))}
		if addr.Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := pod.AddrReplace(eth0, a); err != nil {
			return fmt.Errorf("add address %s: %w", addr, err)
		}
	}
	if err := pod.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set %s up: %w", podInterface, err)
	}
	for _, cidr := range cidrs {
		gw := gateway(cidr)
		route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gw.AsSlice(), Dst: anywhere(gw), Flags: int(netlink.FLAG_ONLINK)}
		if err := pod.RouteReplace(route); err != nil {
			return fmt.Errorf("add default route via %s: %w", gw, err)
		}
	}
	return nil
}

// Attached returns the addresses of id if its network namespace, at path netns, has all that Attach gives: the interface with them, and a
// default route for each. Otherwise none. It needs no Setup.
func (n *Network) Attached(id, path string) []netip.Addr {
	addrs := n.Addresses(id)
	if len(addrs) == 0 {
		return nil
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil
	}
	defer ns.Close()
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	defer pod.Close()
	eth0, err := pod.LinkByName(podInterface)
	if err != nil || eth0.Attrs().Flags&net.FlagUp == 0 {
		return nil
	}
	for _, addr := range addrs {
		family := netlink.FAMILY_V4
		if addr.Is6() {
			family = netlink.FAMILY_V6
		}
		have, err := pod.AddrList(eth0, family)
		if err != nil || !slices.ContainsFunc(have, func(a netlink.Addr) bool { return addr.String() == a.IP.String() }) {
			return nil
		}
		routes, err := pod.RouteList(eth0, family)
		if err != nil || !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) }) {
			return nil
		}
	}
	return addrs
}

// Detach removes the interface of id and frees its addresses. One that is not attached is no error.
func (n *Network) Detach(_ context.Context, id string) error {
	if err := removeLink(hostInterface(id)); err != nil {
		return fmt.Errorf("detach %s: remove %s: %w", id, hostInterface(id), err)
	}
	return n.addresses.release(id)
}

// Addresses are those that id holds now.
func (n *Network) Addresses(id string) []netip.Addr {
	n.addresses.mu.Lock()
	defer n.addresses.mu.Unlock()
	return append([]netip.Addr(nil), n.addresses.byID[id]...)
}

// Reconcile frees the addresses and removes the interfaces of all ids that are not in use (a crash, a reboot).
// No Attach may run meanwhile.
func (n *Network) Reconcile(_ context.Context, idsInUse []string) error {
	ids, names := map[string]bool{}, map[string]bool{}
	for _, id := range idsInUse {
		ids[id], names[hostInterface(id)] = true, true
	}
	freed, err := n.addresses.reconcile(ids)
	if err != nil {
		return err
	}
	if len(freed) > 0 {
		n.log.Info("freed addresses of pods that are gone", "count", len(freed))
	}
	bridge, err := netlink.LinkByName(n.cfg.Bridge)
	if err != nil {
		return ignoreNotFound(err)
	}
	ports, err := bridgePorts(bridge.Attrs().Index)
	for _, port := range ports {
		if !names[port.Attrs().Name] {
			err = errors.Join(err, ignoreNotFound(netlink.LinkDel(port)))
		}
	}
	return err
}

// hostInterface is the name of the node's end.
func hostInterface(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "veth" + hex.EncodeToString(sum[:])[:11]
}

// podMAC is made of the pod's address, so whoever held the address before left no stale neighbour entry.
func podMAC(addr netip.Addr) net.HardwareAddr {
	b := addr.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, b[len(b)-4:]...)
}

func anywhere(family netip.Addr) *net.IPNet {
	if family.Is4() {
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}
