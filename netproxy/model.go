package netproxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// endpoint is where a connection may be sent.
type endpoint struct {
	addr  netip.Addr
	port  uint16
	local bool
}

// target is the endpoint as --to-destination takes it.
func (e endpoint) target() string { return netip.AddrPortFrom(e.addr, e.port).String() }

// servicePort is all that the rules of one port of one Service in one family depend on.
type servicePort struct {
	service  types.NamespacedName
	name     string
	protocol string // tcp, udp, sctp
	port     uint16
	nodePort uint16

	clusterIPs, externalIPs, balancerIPs []netip.Addr
	sourceRanges                         []netip.Prefix
	// restricted: there are source ranges, perhaps none of this family.
	restricted bool
	// affinity in seconds; 0 for none.
	affinity                     int
	internalLocal, externalLocal bool

	// all are usable on this node with policy Cluster (the nearest, where hints say so), here are those of this node, for policy Local.
	all, here []endpoint
}

// portsOf reads a Service and its slices. It returns nothing for what needs no rules: headless and ExternalName.
func portsOf(svc *corev1.Service, eps []*discoveryv1.EndpointSlice, at place, family iptables.Family) []servicePort {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == "" || foreign(svc) {
		return nil
	}
	base := servicePort{
		service:       types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		clusterIPs:    addrs(family, clusterIPs(svc)...),
		externalIPs:   addrs(family, svc.Spec.ExternalIPs...),
		balancerIPs:   addrs(family, balancerIPs(svc)...),
		affinity:      affinity(svc),
		internalLocal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		externalLocal: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	if len(base.clusterIPs) == 0 {
		return nil // not a Service of this family
	}
	base.sourceRanges, base.restricted = sourceRanges(svc, family)
	var out []servicePort
	for _, p := range svc.Spec.Ports {
		sp := base
		sp.name, sp.port, sp.nodePort = p.Name, uint16(p.Port), uint16(p.NodePort)
		switch p.Protocol {
		case corev1.ProtocolTCP, "":
			sp.protocol = "tcp"
		case corev1.ProtocolUDP:
			sp.protocol = "udp"
		case corev1.ProtocolSCTP:
			sp.protocol = "sctp"
		default:
			continue
		}
		sp.all, sp.here = endpointsOf(eps, p, at, family)
		out = append(out, sp)
	}
	return out
}

// foreign tells whether a Service asks for another proxy than the cluster's.
func foreign(svc *corev1.Service) bool {
	_, is := svc.Labels[labelProxyName]
	return is
}

// labelProxyName is upstream's label of Services that another service proxy looks after.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// endpointsOf picks the endpoints of a port: the ready ones, or else those that still serve while they terminate
// (KEP-1669), once as hints have it for where this node is, and once on this node.
func endpointsOf(eps []*discoveryv1.EndpointSlice, port corev1.ServicePort, at place, family iptables.Family) (all, here []endpoint) {
	var ready, leaving []endpoint
	var hints []hint // of ready
	for _, slice := range eps {
		number, ok := portIn(slice, port)
		if !ok || slice.AddressType != addressType(family) {
			continue
		}
		for _, e := range slice.Endpoints {
			c := e.Conditions
			isReady := c.Ready == nil || *c.Ready
			serving := c.Serving == nil && isReady || c.Serving != nil && *c.Serving
			terminating := c.Terminating != nil && *c.Terminating
			if len(e.Addresses) == 0 || !isReady && !(serving && terminating) {
				continue
			}
			// All addresses of an endpoint are the same pod; only the first is used, as documented.
			for _, addr := range addrs(family, e.Addresses[0]) {
				if addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() {
					continue
				}
				ep := endpoint{addr, number, e.NodeName != nil && *e.NodeName == at.node}
				if isReady {
					ready, hints = append(ready, ep), append(hints, hintOf(e.Hints, at))
				} else {
					leaving = append(leaving, ep)
				}
			}
		}
	}
	local := func(list []endpoint) []endpoint {
		return unique(slices.DeleteFunc(slices.Clone(list), func(e endpoint) bool { return !e.local }))
	}
	if all = unique(nearest(ready, hints)); len(all) == 0 {
		all = unique(leaving)
	}
	if here = local(ready); len(here) == 0 {
		here = local(leaving)
	}
	return all, here
}

func portIn(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if p.Port != nil && name == port.Name && protocol == cmp.Or(port.Protocol, corev1.ProtocolTCP) && *p.Port > 0 && *p.Port < 1<<16 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// unique sorts, and drops what several slices have.
func unique(list []endpoint) []endpoint {
	slices.SortFunc(list, func(a, b endpoint) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.port, b.port))
	})
	return slices.CompactFunc(list, func(a, b endpoint) bool { return a.addr == b.addr && a.port == b.port })
}

func addressType(family iptables.Family) discoveryv1.AddressType {
	if family == iptables.IPv6 {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

func clusterIPs(svc *corev1.Service) []string {
	if len(svc.Spec.ClusterIPs) > 0 {
		return svc.Spec.ClusterIPs
	}
	return []string{svc.Spec.ClusterIP}
}

// balancerIPs are those whose packets arrive here unchanged (ipMode VIP).
func balancerIPs(svc *corev1.Service) (ips []string) {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		if ing.IP != "" && (ing.IPMode == nil || *ing.IPMode == corev1.LoadBalancerIPModeVIP) {
			ips = append(ips, ing.IP)
		}
	}
	return ips
}

func affinity(svc *corev1.Service) int {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
		return int(*c.ClientIP.TimeoutSeconds)
	}
	return int(corev1.DefaultClientIPServiceAffinitySeconds)
}

func sourceRanges(svc *corev1.Service, family iptables.Family) (ranges []netip.Prefix, restricted bool) {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil, false
	}
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		restricted = true
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p.Addr().Is4() == (family == iptables.IPv4) {
			ranges = append(ranges, p.Masked())
		}
	}
	return ranges, restricted
}

// addrs parses those of the family, sorted; what is no address is left out.
func addrs(family iptables.Family, texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && a.Is4() == (family == iptables.IPv4) && !a.Is4In6() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
