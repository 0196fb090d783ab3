// Package nodeaddr knows the addresses of this machine that the cluster uses, and follows them while the daemon runs: a lease of DHCP
// that ends, an uplink that is configured anew.
//
// An address that still is on a device stays, also when the default route leads elsewhere by now (a VPN that comes up must not
// move a node). One that is gone is replaced by that of the default route, or by the first of another device that
// is neither a bridge nor a pod's. Until there is one, the old one stays: the cable may be back in a moment.
//
// Goroutines: Run is one loop, which sleeps until the kernel tells of an address or a default route (rtnetlink).
package nodeaddr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long after the first event others are waited for: a changed address is one that goes and one that comes.
const settle = 500 * time.Millisecond

// Addresses of this machine, one a family, the first one is the node's main one. Safe for concurrent use.
type Addresses struct {
	fixed bool
	log   *slog.Logger

	mu   sync.Mutex
	list []netip.Addr
	last int
	told map[int]func(changed bool)
}

// Fixed are addresses that somebody chose; they never change.
func Fixed(list []netip.Addr) *Addresses {
	return &Addresses{fixed: true, list: slices.Clone(list), told: map[int]func(bool){}, log: slog.New(slog.DiscardHandler)}
}

// Detect finds the machine's address; Run follows it.
func Detect() (*Addresses, error) {
	addr, err := outgoing()
	if err != nil {
		return nil, err
	}
	a := Fixed([]netip.Addr{addr})
	a.fixed = false
	return a, nil
}

// List returns the addresses of now.
func (a *Addresses) List() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// Strings is List as text.
func (a *Addresses) Strings() (out []string) {
	for _, addr := range a.List() {
		out = append(out, addr.String())
	}
	return out
}

// Log says where changes are told.
func (a *Addresses) Log(log *slog.Logger) { a.log = log }

// OnEvent calls f after every event of the machine's addresses until stop is called; changed says that List answers something else
// than before. f must not block.
func (a *Addresses) OnEvent(f func(changed bool)) (stop func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	id := a.last
	a.told[id] = f
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.told, id)
	}
}

// Run follows the addresses until ctx ends.
func (a *Addresses) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.follow(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("cannot follow this machine's addresses; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	return nil
}

// follow returns when the subscription breaks, e.g. because events came faster than they were read.
func (a *Addresses) follow(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	broken := make(chan error, 2)
	failed := func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	addrs, routes := make(chan netlink.AddrUpdate, 64), make(chan netlink.RouteUpdate, 64)
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: failed}); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: failed}); err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	a.look() // what happened before
	var timer <-chan time.Time
	for {
		relevant := false
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return err
		case u, ok := <-addrs:
			if !ok {
				return errors.New("the kernel's events ended")
			}
			relevant = !u.LinkAddress.IP.IsLinkLocalUnicast() && !u.LinkAddress.IP.IsLoopback()
		case u, ok := <-routes:
			if !ok {
				return errors.New("the kernel's events ended")
			}
			relevant = isDefault(u.Route)
		case <-timer:
			timer = nil
			a.look()
		}
		if relevant && timer == nil {
			timer = time.After(settle)
		}
	}
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// look compares, and tells.
func (a *Addresses) look() {
	have := a.List()
	want := have
	if !a.fixed {
		present, candidates, err := machine()
		if err != nil {
			a.log.Warn("cannot read this machine's addresses", "error", err)
			return
		}
		route, _ := byDefaultRoute()
		want = decide(have, present, candidates, route)
	}
	changed := !slices.Equal(have, want)
	a.mu.Lock()
	a.list = want
	var told []func(bool)
	for _, f := range a.told {
		told = append(told, f)
	}
	a.mu.Unlock()
	if changed {
		a.log.Info("this node's address changed", "from", have, "to", want)
	}
	for _, f := range told {
		f(changed)
	}
}

// decide says which addresses are the node's: route is that of the default route, if there is one; candidates are those of devices
// that lead out of the machine.
func decide(have []netip.Addr, present map[netip.Addr]bool, candidates []netip.Addr, route netip.Addr) []netip.Addr {
	want := make([]netip.Addr, 0, len(have))
	for _, old := range have {
		sameFamily := func(a netip.Addr) bool { return a.Is4() == old.Is4() }
		switch i := slices.IndexFunc(candidates, sameFamily); {
		case present[old]:
			want = append(want, old)
		case route.IsValid() && sameFamily(route):
			want = append(want, route)
		case i >= 0:
			want = append(want, candidates[i])
		case len(have) == 1 && route.IsValid(): // the machine is of another family by now
			want = append(want, route)
		default:
			want = append(want, old)
		}
	}
	return want
}

// machine reads the addresses of all devices, and those that may be a node's.
func machine() (present map[netip.Addr]bool, candidates []netip.Addr, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	inside := map[int]bool{}
	for _, l := range links {
		switch l.Type() {
		case "bridge", "veth", "vxlan", "dummy", "tun":
			inside[l.Attrs().Index] = true
		}
		if l.Attrs().Flags&net.FlagLoopback != 0 {
			inside[l.Attrs().Index] = true
		}
	}
	addrs, err := netlink.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	present = map[netip.Addr]bool{}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ip = ip.Unmap()
		present[ip] = true
		const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY
		if ip.IsGlobalUnicast() && !inside[a.LinkIndex] && !(ip.Is6() && a.Flags&unusable != 0) {
			candidates = append(candidates, ip)
		}
	}
	return present, candidates, nil
}

// outgoing is the source address of the default route. A machine without one uses its first global address.
func outgoing() (netip.Addr, error) {
	if addr, ok := byDefaultRoute(); ok {
		return addr, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok && p.IP.IsGlobalUnicast() {
			ip, _ := netip.AddrFromSlice(p.IP)
			return ip.Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("no interface has an address")
}

// byDefaultRoute asks the kernel with which address it would send to a documentation address (RFC 5737 and 3849); no packet is sent.
func byDefaultRoute() (netip.Addr, bool) {
	for _, target := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		return addr, true
	}
	return netip.Addr{}, false
}
