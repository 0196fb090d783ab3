package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// records are what DNS knows of one Service. They never change once made.
type records struct {
	// name is "web.default.svc", without the domain.
	name string
	// external is the target of an ExternalName, with a dot at its end; then nothing else is set.
	external string
	headless bool
	// ips are the cluster IPs, or a headless Service's endpoints.
	ips   []netip.Addr
	ports []port
	// hosts are endpoints by name: the pod's hostname, or its address with dashes.
	hosts map[string][]netip.Addr
	// pointers are the names of addresses: "web.default.svc" or "host.web.default.svc".
	pointers map[netip.Addr]string
}

// port is one SRV name; a headless Service has one target for each endpoint.
type port struct {
	name, protocol string // "_http", "_tcp"
	targets        []target
}

type target struct {
	host string // "" for the Service itself
	port uint16
}

// recordsOf reads a Service and its slices; nil if it has no names.
func recordsOf(svc *corev1.Service, eps []*discoveryv1.EndpointSlice) *records {
	if svc == nil {
		return nil
	}
	r := &records{name: svc.Name + "." + svc.Namespace + ".svc", hosts: map[string][]netip.Addr{}, pointers: map[netip.Addr]string{}}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		r.external = strings.ToLower(strings.TrimSuffix(svc.Spec.ExternalName, ".")) + "."
		return r
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		r.headless = true
	default:
		for _, text := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
			if ip, err := netip.ParseAddr(text); err == nil && !slices.Contains(r.ips, ip) {
				r.ips = append(r.ips, ip)
				r.pointers[ip] = r.name
			}
		}
		for _, p := range svc.Spec.Ports {
			r.addPort(p.Name, p.Protocol, target{port: uint16(p.Port)})
		}
	}
	for _, slice := range eps {
		for i := range slice.Endpoints {
			r.addEndpoint(svc, slice, &slice.Endpoints[i])
		}
	}
	slices.SortFunc(r.ips, netip.Addr.Compare)
	r.ips = slices.Compact(r.ips)
	return r
}

// addEndpoint adds the names of one endpoint: always that of its hostname, and for headless Services all there is.
func (r *records) addEndpoint(svc *corev1.Service, slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint) {
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	if !ready && !svc.Spec.PublishNotReadyAddresses {
		return
	}
	for _, text := range e.Addresses {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		host := strings.NewReplacer(".", "-", ":", "-").Replace(text)
		if e.Hostname != nil && *e.Hostname != "" {
			host = strings.ToLower(*e.Hostname)
		} else if !r.headless {
			continue
		}
		if !slices.Contains(r.hosts[host], ip) {
			r.hosts[host] = append(r.hosts[host], ip)
		}
		r.pointers[ip] = host + "." + r.name
		if !r.headless {
			continue
		}
		r.ips = append(r.ips, ip)
		for _, p := range slice.Ports {
			if p.Port != nil && p.Name != nil {
				protocol := corev1.ProtocolTCP
				if p.Protocol != nil {
					protocol = *p.Protocol
				}
				r.addPort(*p.Name, protocol, target{host, uint16(*p.Port)})
			}
		}
	}
}

func (r *records) addPort(name string, protocol corev1.Protocol, t target) {
	if name == "" {
		return // SRV records are for named ports
	}
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	name, proto := "_"+strings.ToLower(name), "_"+strings.ToLower(string(protocol))
	for i := range r.ports {
		if r.ports[i].name == name && r.ports[i].protocol == proto {
			if !slices.Contains(r.ports[i].targets, t) {
				r.ports[i].targets = append(r.ports[i].targets, t)
			}
			return
		}
	}
	r.ports = append(r.ports, port{name, proto, []target{t}})
}

// zone holds the records of all Services.
type zone struct {
	mu       sync.RWMutex
	services map[string]*records // by "web.default"
	// inNamespace counts Services, so that a namespace exists as long as it has one.
	inNamespace map[string]int
	// pointers are the records that know an address.
	pointers map[netip.Addr][]*records
}

func newZone() *zone {
	return &zone{services: map[string]*records{}, inNamespace: map[string]int{}, pointers: map[netip.Addr][]*records{}}
}

// put replaces the records of a Service; nil removes them.
func (z *zone) put(key types.NamespacedName, now *records) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := key.Name + "." + key.Namespace
	if old := z.services[name]; old != nil {
		for ip := range old.pointers {
			rest := slices.DeleteFunc(slices.Clone(z.pointers[ip]), func(r *records) bool { return r == old })
			if z.pointers[ip] = rest; len(rest) == 0 {
				delete(z.pointers, ip)
			}
		}
		delete(z.services, name)
		if z.inNamespace[key.Namespace]--; z.inNamespace[key.Namespace] == 0 {
			delete(z.inNamespace, key.Namespace)
		}
	}
	if now == nil {
		return
	}
	z.services[name] = now
	z.inNamespace[key.Namespace]++
	for ip := range now.pointers {
		z.pointers[ip] = append(slices.Clone(z.pointers[ip]), now)
	}
}

// service finds records by "web.default".
func (z *zone) service(name string) *records {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.services[name]
}

func (z *zone) hasServices(namespace string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.inNamespace[namespace] > 0
}

// names of an address, sorted.
func (z *zone) names(ip netip.Addr) (names []string) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	for _, r := range z.pointers[ip] {
		names = append(names, r.pointers[ip])
	}
	slices.Sort(names)
	return names
}
