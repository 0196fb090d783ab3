package admission

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/registry"
)

// allocator hands out cluster IPs and node ports to Services, and never the same one twice.
//
// What is taken is what the Services of the newest snapshot have, plus what this process has handed out in writes that
// are not visible there yet (held). mu makes looking and holding one step. There is no allocation state beside the
// Services themselves, so there is nothing to repair after a crash, and a deleted Service's addresses are free at once.
//
// With several servers each sees only its own held ones. Each address is then also written as a key of its own
// (upstream's IPAddress and its parent reference) in the same etcd transaction as the Service: the loser's transaction
// fails and it chooses again. Until there are several, that would only cost a second write per Service.
type allocator struct {
	*Config
	mu sync.Mutex
	// held maps an address or port to the Service ("namespace/name") whose write is under way.
	heldIPs   map[netip.Addr]string
	heldPorts map[int32]string

	ranges   []ipRange
	first    int32 // of the node ports
	last     int32
	reserved map[netip.Addr]bool
}

// ipRange is one service CIDR. Its lowest part is for addresses that users choose, so that chosen ones rarely collide
// with those handed out.
type ipRange struct {
	family corev1.IPFamily
	prefix netip.Prefix
	size   uint64 // usable addresses, which are base+1 … base+size
	static uint64 // of those, handed out last
}

func serviceAllocator(c *Config) (registry.Plugin, error) {
	al := &allocator{Config: c, heldIPs: map[netip.Addr]string{}, heldPorts: map[int32]string{}, reserved: map[netip.Addr]bool{}}
	for _, prefix := range c.ServiceCIDRs {
		al.ranges = append(al.ranges, newRange(prefix))
	}
	for _, ip := range c.ReservedIPs {
		al.reserved[ip] = true
	}
	ports := c.NodePortRange
	if ports == "" {
		ports = wellknown.DefaultNodePortRange
	}
	var err error
	if al.first, al.last, err = parsePorts(ports); err != nil {
		return registry.Plugin{}, err
	}
	return registry.Plugin{Name: "ServiceAllocator", Admit: al.admit}, nil
}

func parsePorts(s string) (first, last int32, err error) {
	a, b, ok := strings.Cut(s, "-")
	low, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || high < low {
		return 0, 0, fmt.Errorf("node port range %q: want first-last, such as %s", s, wellknown.DefaultNodePortRange)
	}
	return int32(low), int32(high), nil
}

func newRange(prefix netip.Prefix) ipRange {
	prefix = prefix.Masked()
	r := ipRange{family: familyOf(prefix.Addr()), prefix: prefix}
	bits := prefix.Addr().BitLen() - prefix.Bits()
	if bits >= 32 { // more than anybody needs, and it fits
		r.size = 1<<32 - 2
	} else {
		r.size = 1<<bits - 1 // the network's own address is not used
		if r.family == corev1.IPv4Protocol && r.size > 0 {
			r.size-- // nor is the broadcast address
		}
	}
	if r.size >= 16 {
		r.static = min(max(16, r.size/16), 256)
	}
	return r
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// at returns the n-th usable address, from 1.
func (r *ipRange) at(n uint64) netip.Addr {
	bytes := r.prefix.Addr().AsSlice()
	sum := new(big.Int).Add(new(big.Int).SetBytes(bytes), new(big.Int).SetUint64(n))
	ip, _ := netip.AddrFromSlice(sum.FillBytes(bytes))
	return ip
}

// holds says whether ip is one of the usable addresses.
func (r *ipRange) holds(ip netip.Addr) bool {
	return r.prefix.Contains(ip) && ip != r.prefix.Addr() && ip.Compare(r.at(r.size)) <= 0
}

func (al *allocator) admit(_ context.Context, a *registry.Attributes) error {
	svc, ok := a.Object.(*corev1.Service)
	if !ok || a.Subresource != "" || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
		return nil
	}
	old, _ := a.Old.(*corev1.Service)
	if old != nil && a.Kind.PrepareUpdate != nil {
		// What a manifest leaves out stays as it was. The registry does this again later, to no effect.
		a.Kind.PrepareUpdate(svc, old)
	}
	al.mu.Lock()
	defer al.mu.Unlock()
	t := &allocation{al: al, svc: svc, old: old, key: keyOf(svc)}
	if err := t.run(); err != nil {
		return err
	}
	t.hold()
	a.AfterWrite(func(bool) { t.release() })
	return nil
}

// allocation is what one Service needs.
type allocation struct {
	al       *allocator
	svc, old *corev1.Service
	key      string
	// taken by other Services; made when first needed.
	takenIPs   map[netip.Addr]bool
	takenPorts map[int32]bool
	// got for this one.
	ips   []netip.Addr
	ports []int32
}

func (t *allocation) run() error {
	if t.svc.Spec.Type != corev1.ServiceTypeExternalName {
		if err := t.families(); err != nil {
			return err
		}
		if t.svc.Spec.ClusterIP != corev1.ClusterIPNone {
			if err := t.clusterIPs(); err != nil {
				return err
			}
		} else if len(t.svc.Spec.ClusterIPs) == 0 {
			t.svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		}
	}
	return t.nodePorts()
}

// look reads what the other Services have.
func (t *allocation) look() {
	if t.takenIPs != nil {
		return
	}
	t.takenIPs, t.takenPorts = map[netip.Addr]bool{}, map[int32]bool{}
	for _, s := range list[*corev1.Service](t.al.Config, t.al.Store.Snapshot(), "") {
		if s.Namespace == t.svc.Namespace && s.Name == t.svc.Name {
			continue
		}
		for _, ip := range s.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil {
				t.takenIPs[addr] = true
			}
		}
		for _, p := range s.Spec.Ports {
			t.takenPorts[p.NodePort] = true
		}
		t.takenPorts[s.Spec.HealthCheckNodePort] = true
	}
	for ip, key := range t.al.heldIPs {
		t.takenIPs[ip] = t.takenIPs[ip] || key != t.key
	}
	for port, key := range t.al.heldPorts {
		t.takenPorts[port] = t.takenPorts[port] || key != t.key
	}
	delete(t.takenPorts, 0)
}

func (t *allocation) hold() {
	for _, ip := range t.ips {
		t.al.heldIPs[ip] = t.key
	}
	for _, port := range t.ports {
		t.al.heldPorts[port] = t.key
	}
}

func (t *allocation) release() {
	t.al.mu.Lock()
	defer t.al.mu.Unlock()
	for _, ip := range t.ips {
		if t.al.heldIPs[ip] == t.key {
			delete(t.al.heldIPs, ip)
		}
	}
	for _, port := range t.ports {
		if t.al.heldPorts[port] == t.key {
			delete(t.al.heldPorts, port)
		}
	}
}

func (t *allocation) invalid(errs ...*field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), t.svc.Name, errs)
}

// clusterIPs takes those that the Service names and hands out those it lacks, one a family.
func (t *allocation) clusterIPs() error {
	spec := &t.svc.Spec
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	for i, family := range spec.IPFamilies {
		if i < len(spec.ClusterIPs) && spec.ClusterIPs[i] != "" {
			if t.kept(spec.ClusterIPs[i]) {
				continue
			}
			if err := t.chosenIP(family, spec.ClusterIPs[i]); err != nil {
				return err
			}
			continue
		}
		ip, err := t.freeIP(family)
		if err != nil {
			return err
		}
		spec.ClusterIPs = append(spec.ClusterIPs[:min(i, len(spec.ClusterIPs))], ip.String())
		t.ips = append(t.ips, ip)
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

func (t *allocation) kept(ip string) bool {
	if t.old == nil {
		return false
	}
	for _, have := range t.old.Spec.ClusterIPs {
		if have == ip {
			return true
		}
	}
	return false
}

func (t *allocation) chosenIP(family corev1.IPFamily, s string) error {
	path := field.NewPath("spec", "clusterIPs")
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return nil // validation says it better
	}
	ranges := t.al.rangesOf(family)
	if len(ranges) == 0 {
		return nil
	}
	if !slices.ContainsFunc(ranges, func(r ipRange) bool { return r.holds(ip) }) {
		return t.invalid(field.Invalid(path, t.svc.Spec.ClusterIPs,
			fmt.Sprintf("failed to allocate IP %v: the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, ip, prefixes(ranges))))
	}
	t.look()
	if t.takenIPs[ip] || t.claimed(ip) {
		return t.invalid(field.Invalid(path, t.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: provided IP is already allocated", ip)))
	}
	t.ips = append(t.ips, ip)
	return nil
}

// freeIP hands out an address of the first range that has one: a random one above its static part, or the next free one
// after it, or what is left below.
func (t *allocation) freeIP(family corev1.IPFamily) (netip.Addr, error) {
	t.look()
	for _, r := range t.al.rangesOf(family) {
		for _, band := range [][2]uint64{{r.static + 1, r.size}, {1, r.static}} {
			if band[1] < band[0] {
				continue
			}
			n := band[1] - band[0] + 1
			start := rand.Uint64N(n)
			for i := range n {
				if i > uint64(len(t.takenIPs)+len(t.al.reserved)+maxClaimed) {
					break // more tries than there are addresses taken
				}
				if ip := r.at(band[0] + (start+i)%n); !t.takenIPs[ip] && !t.al.reserved[ip] && !t.claimed(ip) {
					return ip, nil
				}
			}
		}
	}
	return netip.Addr{}, apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: range is full"))
}

func (al *allocator) rangeOf(family corev1.IPFamily) *ipRange {
	for i := range al.ranges {
		if al.ranges[i].family == family {
			return &al.ranges[i]
		}
	}
	return nil
}
