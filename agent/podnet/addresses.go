package podnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// addresses hands out pod addresses. The files are the truth; the maps mirror them.
type addresses struct {
	dir string

	mu    sync.Mutex
	pools []*pool
	// byAddr has "" for a file that a crash left empty.
	byAddr map[netip.Addr]string
	byID   map[string][]netip.Addr
	// last is the address given out most recently, of each family.
	last map[bool]netip.Addr
}

// pool is one CIDR of the node.
type pool struct {
	cidr netip.Prefix
	// next is tried first.
	next netip.Addr
}

func openAddresses(dir string) (*addresses, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of pod addresses: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read pod addresses: %w", err)
	}
	a := &addresses{dir: dir, byAddr: map[netip.Addr]string{}, byID: map[string][]netip.Addr{}, last: map[bool]netip.Addr{}}
	newest := map[bool]time.Time{}
	for _, entry := range entries {
		addr, err := netip.ParseAddr(entry.Name())
		if err != nil {
			continue // not ours
		}
		id, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read who holds pod address %s: %w", addr, err)
		}
		a.note(addr, strings.TrimSpace(string(id)))
		if info, err := entry.Info(); err == nil && info.ModTime().After(newest[addr.Is4()]) {
			newest[addr.Is4()], a.last[addr.Is4()] = info.ModTime(), addr
		}
	}
	return a, nil
}

func (a *addresses) note(addr netip.Addr, id string) {
	a.byAddr[addr] = id
	if id != "" {
		a.byID[id] = append(a.byID[id], addr)
	}
}

// setPools says which CIDRs addresses come from now. Addresses of earlier ones stay with who holds them.
func (a *addresses) setPools(cidrs []netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pools []*pool
	for _, cidr := range cidrs {
		if cidr.Addr().BitLen()-cidr.Bits() < 2 {
			return fmt.Errorf("pod CIDR %s is too small for a pod", cidr)
		}
		p := &pool{cidr: cidr, next: a.last[cidr.Addr().Is4()].Next()}
		for _, old := range a.pools {
			if old.cidr == cidr {
				p = old
			}
		}
		pools = append(pools, p)
	}
	a.pools = pools
	return nil
}

// claim returns the addresses of id, one of each pool: those it has, or new ones.
func (a *addresses) claim(id string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pools) == 0 {
		return nil, ErrNotReady
	}
	var out []netip.Addr
	for _, p := range a.pools {
		addr, ok := a.held(id, p.cidr)
		if !ok {
			var err error
			if addr, err = a.take(id, p); err != nil {
				return nil, err
			}
		}
		out = append(out, addr)
	}
	return out, nil
}

func (a *addresses) held(id string, cidr netip.Prefix) (netip.Addr, bool) {
	for _, addr := range a.byID[id] {
		if cidr.Contains(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// take finds the free address that comes next after the last one given out.
func (a *addresses) take(id string, p *pool) (netip.Addr, error) {
	first := gateway(p.cidr).Next()
	addr := p.next
	if !p.usable(addr) {
		addr = first
	}
	for start := addr; ; {
		if _, taken := a.byAddr[addr]; !taken {
			err := a.write(addr, id)
			if err == nil {
				p.next = addr.Next()
				return addr, nil
			}
			if !errors.Is(err, os.ErrExist) {
				return addr, fmt.Errorf("note pod address %s: %w", addr, err)
			}
			a.byAddr[addr] = "" // somebody else's; Reconcile reads it again
		}
		if addr = addr.Next(); !p.usable(addr) {
			addr = first
		}
		if addr == start {
			return addr, fmt.Errorf("no free pod address: all of this node's pod CIDR %s are in use", p.cidr)
		}
	}
}

// usable excludes the network's address, the gateway and IPv4's broadcast.
func (p *pool) usable(addr netip.Addr) bool {
	if !addr.IsValid() || !p.cidr.Contains(addr) || addr.Compare(gateway(p.cidr)) <= 0 {
		return false
	}
	return addr.Is6() || p.cidr.Contains(addr.Next())
}

func (a *addresses) write(addr netip.Addr, id string) error {
	path := filepath.Join(a.dir, addr.String())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(id)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	a.note(addr, id)
	return nil
}

// release frees the addresses of id.
func (a *addresses) release(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, addr := range a.byID[id] {
		errs = append(errs, a.remove(addr))
	}
	delete(a.byID, id)
	return errors.Join(errs...)
}

func (a *addresses) remove(addr netip.Addr) error {
	if err := os.Remove(filepath.Join(a.dir, addr.String())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("free pod address %s: %w", addr, err)
	}
	delete(a.byAddr, addr)
	return nil
}

// reconcile frees what no id in use holds and returns the freed addresses.
func (a *addresses) reconcile(inUse map[string]bool) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var freed []netip.Addr
	for addr, id := range a.byAddr {
		if id != "" && inUse[id] {
			continue
		}
		if err := a.remove(addr); err != nil {
			return freed, err
		}
		delete(a.byID, id)
		freed = append(freed, addr)
	}
	return freed, nil
}
