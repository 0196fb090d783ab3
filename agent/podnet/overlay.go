package podnet

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sort"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// entry is one thing the kernel must know about a peer. Exactly one of the three shapes:
//
//	route  dst (a pod CIDR) via gw
//	neigh  gw has mac
//	fdb    mac is behind remote
type entry struct {
	kind   string
	dst    netip.Prefix
	via    netip.Addr
	mac    string
	remote netip.Addr
}

func (e entry) String() string {
	switch e.kind {
	case "route":
		return fmt.Sprintf("route %s via %s", e.dst, e.via)
	case "neigh":
		return fmt.Sprintf("neigh %s is %s", e.via, e.mac)
	default:
		return fmt.Sprintf("fdb %s at %s", e.mac, e.remote)
	}
}

// entriesOf is what the kernel shall know for the peers.
func entriesOf(peers []peer) []entry {
	var out []entry
	for _, p := range peers {
		mac := p.vtep.mac.String()
		if len(p.cidrs) > 0 {
			out = append(out, entry{kind: "fdb", mac: mac, remote: p.vtep.underlay})
		}
		for _, cidr := range p.cidrs {
			via := cidr.Addr()
			out = append(out, entry{kind: "neigh", via: via, mac: mac}, entry{kind: "route", dst: cidr, via: via})
		}
	}
	return out
}

// overlayPlan lists what to remove, then what to add. It prints.
type overlayPlan struct{ remove, add []entry }

func (p overlayPlan) empty() bool { return len(p.remove)+len(p.add) == 0 }

// decideOverlay compares. Routes go first and come last, so that no packet meets a route without its neighbour.
func decideOverlay(want, have []entry) overlayPlan {
	wanted, had := map[entry]bool{}, map[entry]bool{}
	for _, e := range want {
		wanted[e] = true
	}
	var p overlayPlan
	for _, e := range have {
		if had[e] = true; !wanted[e] {
			p.remove = append(p.remove, e)
		}
	}
	for _, e := range want {
		if !had[e] {
			p.add = append(p.add, e)
		}
	}
	order := func(es []entry, routesFirst bool) {
		sort.SliceStable(es, func(i, j int) bool {
			if r := es[i].kind == "route"; r != (es[j].kind == "route") {
				return r == routesFirst
			}
			return es[i].String() < es[j].String()
		})
	}
	order(p.remove, true)
	order(p.add, false)
	return p
}

// overlay is the vxlan device.
type overlay struct {
	name  string
	mac   net.HardwareAddr
	local netip.Addr
	log   *slog.Logger
}

func (o *overlay) vtep() vtep { return vtep{o.mac, o.local} }

// sync makes the device and its entries what peers ask for. Without peers and without the device nothing is made.
func (o *overlay) sync(peers []peer, mtu int, sources []netip.Addr) (overlayPlan, error) {
	link, err := netlink.LinkByName(o.name)
	if err != nil && !isNotFound(err) {
		return overlayPlan{}, fmt.Errorf("look up %s: %w", o.name, err)
	}
	if len(peers) == 0 && err != nil {
		return overlayPlan{}, nil
	}
	if link, err = o.device(link, mtu); err != nil {
		return overlayPlan{}, err
	}
	if err := setSources(link, sources); err != nil {
		return overlayPlan{}, err
	}
	have, err := entriesIn(link)
	if err != nil {
		return overlayPlan{}, err
	}
	plan := decideOverlay(entriesOf(peers), have)
	var errs []error
	for _, e := range plan.remove {
		if err := change(link, e, false, sources); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove %s: %w", e, err))
		}
	}
	for _, e := range plan.add {
		if err := change(link, e, true, sources); err != nil {
			errs = append(errs, fmt.Errorf("add %s: %w", e, err))
		}
	}
	return plan, errors.Join(errs...)
}

// device makes the vxlan device, again if the one that is there is another.
func (o *overlay) device(have netlink.Link, mtu int) (netlink.Link, error) {
	underlay, _, err := underlayOf(o.local)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = o.name, mtu, o.mac
	want := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: wellknown.VXLANID, Port: wellknown.VXLANPort, VtepDevIndex: underlay,
		SrcAddr: o.local.AsSlice(), Learning: false}
	if have != nil && sameVXLAN(have, want) {
		return have, netlink.LinkSetUp(have)
	}
	if err := removeLink(o.name); err != nil {
		return nil, fmt.Errorf("remove old %s: %w", o.name, err)
	}
	if err := netlink.LinkAdd(want); err != nil {
		return nil, fmt.Errorf("create vxlan device %s on %s: %w", o.name, o.local, err)
	}
	link, err := netlink.LinkByName(o.name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", o.name, err)
	}
	for _, s := range [][2]string{{"net/ipv4/conf/" + o.name + "/rp_filter", "2"}, {"net/ipv6/conf/" + o.name + "/disable_ipv6", "0"}} {
		if err := writeSysctl(s[0], s[1]); err != nil {
			o.log.Debug("vxlan device", "error", err)
		}
	}
	if err := disableBrokenOffload(o.name); err != nil {
		o.log.Warn("could not turn off transmit checksum offload, packets through the overlay may get lost", "device", o.name, "error", err)
	}
	return link, netlink.LinkSetUp(link)
}

// setSources gives the device the node's own pod-network addresses, for masquerade to choose: packets from outside that
// go through the overlay must come back through it.
func setSources(link netlink.Link, sources []netip.Addr) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	want := map[netip.Prefix]bool{}
	for _, source := range sources {
		want[netip.PrefixFrom(source, source.BitLen())] = true
	}
	for i := range have {
		p := prefixOf(have[i].IPNet)
		if !want[p] && !p.Addr().IsLinkLocalUnicast() {
			if err := netlink.AddrDel(link, &have[i]); err != nil {
				return fmt.Errorf("remove address %s from %s: %w", p, link.Attrs().Name, err)
			}
		}
		delete(want, p)
	}
	for p := range want {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s to %s: %w", p, link.Attrs().Name, err)
		}
	}
	return nil
}

func sameVXLAN(link netlink.Link, want *netlink.Vxlan) bool {
	have, ok := link.(*netlink.Vxlan)
	return ok && have.VxlanId == want.VxlanId && have.Port == want.Port && have.VtepDevIndex == want.VtepDevIndex && !have.Learning &&
		have.SrcAddr.Equal(want.SrcAddr) && bytes.Equal(have.HardwareAddr, want.HardwareAddr) && have.MTU == want.MTU
}

// entriesIn reads the permanent entries of the device back.
func entriesIn(link netlink.Link) ([]entry, error) {
	index := link.Attrs().Index
	var out []entry
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes of %s: %w", link.Attrs().Name, err)
		}
		for _, r := range routes {
			if via, ok := netip.AddrFromSlice(r.Gw); ok {
				out = append(out, entry{kind: "route", dst: prefixOf(r.Dst), via: via.Unmap()})
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		neighs, err := netlink.NeighList(index, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours of %s: %w", link.Attrs().Name, err)
		}
		for _, n := range neighs {
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok || n.State&netlink.NUD_PERMANENT == 0 || ip.IsMulticast() {
				continue
			}
			if family == unix.AF_BRIDGE {
				out = append(out, entry{kind: "fdb", mac: n.HardwareAddr.String(), remote: ip.Unmap()})
			} else {
				out = append(out, entry{kind: "neigh", via: ip.Unmap(), mac: n.HardwareAddr.String()})
			}
		}
	}
	return out, nil
}

// change adds or removes one entry.
func change(link netlink.Link, e entry, add bool, sources []netip.Addr) error {
	index := link.Attrs().Index
	if e.kind == "route" {
		route := &netlink.Route{LinkIndex: index, Dst: ipNet(e.dst), Gw: e.via.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		for _, src := range sources {
			if src.Is4() == e.via.Is4() {
				route.Src = src.AsSlice()
			}
		}
		if add {
			return netlink.RouteReplace(route)
		}
		route.Src = nil
		return netlink.RouteDel(route)
	}
	mac, err := net.ParseMAC(e.mac)
	if err != nil {
		return err
	}
	neigh := &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, HardwareAddr: mac}
	if e.kind == "fdb" {
		neigh.Family, neigh.Flags, neigh.IP = unix.AF_BRIDGE, netlink.NTF_SELF, e.remote.AsSlice()
	} else {
		neigh.IP = e.via.AsSlice()
	}
	if add {
		return netlink.NeighSet(neigh)
	}
	return netlink.NeighDel(neigh)
}
