package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/backend"
)

// maxEndpoints in one slice, upstream's default.
const maxEndpoints = 100

// plan is what to write.
type plan struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

func (p plan) String() string {
	var b strings.Builder
	show := func(verb string, list []*discoveryv1.EndpointSlice) {
		for _, s := range list {
			fmt.Fprintf(&b, "%s %s %s endpoints=%d ports=%s\n", verb, s.Name, s.AddressType, len(s.Endpoints), portKey(s.AddressType, s.Ports))
		}
	}
	show("create", p.create)
	show("update", p.update)
	show("delete", p.remove)
	return b.String()
}

// group is the endpoints that have the same ports and family; only these can share a slice.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints map[string]discoveryv1.Endpoint // by identity
}

// decide is pure: a Service, its pods, the zones of nodes, and the slices that there are.
func decide(service *corev1.Service, pods []*corev1.Pod, zone func(node string) string, have []*discoveryv1.EndpointSlice) plan {
	groups := groupsOf(service, pods, zone)
	var p plan
	labels := backend.Labels(service)
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = service.Name, managedBy
	byGroup := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range have {
		key := portKey(slice.AddressType, slice.Ports)
		if groups[key] == nil {
			p.remove = append(p.remove, slice)
			continue
		}
		byGroup[key] = append(byGroup[key], slice)
	}
	for _, key := range sorted(groups) {
		p.fill(service, groups[key], byGroup[key], labels)
	}
	return p
}

// fill distributes a group's endpoints over its slices, moving as few as possible.
func (p *plan) fill(service *corev1.Service, g *group, have []*discoveryv1.EndpointSlice, labels map[string]string) {
	left := map[string]discoveryv1.Endpoint{}
	for id, e := range g.endpoints {
		left[id] = e
	}
	next := make([]*discoveryv1.EndpointSlice, len(have))
	for i, slice := range have {
		next[i] = slice.DeepCopy()
		next[i].Labels, next[i].Ports, next[i].Endpoints = maps.Clone(labels), portsCopy(g.ports), nil
		for _, e := range slice.Endpoints {
			id := identity(e)
			if want, ok := left[id]; ok {
				next[i].Endpoints = append(next[i].Endpoints, want)
				delete(left, id)
			}
		}
	}
	rest := sorted(left)
	// Slices that change anyway take new endpoints first, so that as few as possible are written.
	order := slices.Clone(next)
	changed := map[*discoveryv1.EndpointSlice]bool{}
	for i := range have {
		changed[next[i]] = !equality.Semantic.DeepEqual(have[i], next[i])
	}
	slices.SortStableFunc(order, func(a, b *discoveryv1.EndpointSlice) int { return number(changed[b]) - number(changed[a]) })
	for _, slice := range order {
		for len(rest) > 0 && len(slice.Endpoints) < maxEndpoints {
			slice.Endpoints = append(slice.Endpoints, left[rest[0]])
			rest = rest[1:]
		}
	}
	created := 0
	for len(rest) > 0 || len(have)+created == 0 {
		fresh := newSlice(service, g, labels)
		for len(rest) > 0 && len(fresh.Endpoints) < maxEndpoints {
			fresh.Endpoints = append(fresh.Endpoints, left[rest[0]])
			rest = rest[1:]
		}
		p.create = append(p.create, fresh)
		created++
	}
	kept := len(have)
	for i, slice := range have {
		switch {
		case len(next[i].Endpoints) == 0 && kept+created > 1:
			p.remove = append(p.remove, slice)
			kept--
		case !equality.Semantic.DeepEqual(slice, next[i]):
			p.update = append(p.update, next[i])
		}
	}
}

func newSlice(service *corev1.Service, g *group, labels map[string]string) *discoveryv1.EndpointSlice {
	owner := metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, GenerateName: service.Name + "-", Labels: maps.Clone(labels),
			OwnerReferences: []metav1.OwnerReference{*owner}},
		AddressType: g.family,
		Ports:       portsCopy(g.ports),
	}
}

// portsCopy: what is given to the store is never shared between objects.
func portsCopy(ports []discoveryv1.EndpointPort) []discoveryv1.EndpointPort {
	return (&discoveryv1.EndpointSlice{Ports: ports}).DeepCopy().Ports
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func groupsOf(service *corev1.Service, pods []*corev1.Pod, zone func(string) string) map[string]*group {
	groups := map[string]*group{}
	for _, family := range backend.Families(service) {
		addressType := discoveryv1.AddressType(family)
		for _, pod := range pods {
			address := backend.Address(pod, family)
			if address == "" {
				continue
			}
			ports := portsOf(service, pod)
			key := portKey(addressType, ports)
			if groups[key] == nil {
				groups[key] = &group{family: addressType, ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
			}
			e := endpointOf(service, pod, address, zone)
			groups[key].endpoints[identity(e)] = e
		}
	}
	// A Service without endpoints still has one empty slice of each family, so that readers know that there are none.
	for _, family := range backend.Families(service) {
		addressType := discoveryv1.AddressType(family)
		found := false
		for _, g := range groups {
			found = found || g.family == addressType
		}
		if !found {
			groups[portKey(addressType, nil)] = &group{family: addressType}
		}
	}
	return groups
}

func portsOf(service *corev1.Service, pod *corev1.Pod) (ports []discoveryv1.EndpointPort) {
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		number, ok := backend.Port(sp, pod)
		if !ok {
			continue
		}
		name, protocol := sp.Name, sp.Protocol
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return ports
}

func endpointOf(service *corev1.Service, pod *corev1.Pod, address string, zone func(string) string) discoveryv1.Endpoint {
	ready, terminating := backend.Ready(pod), pod.DeletionTimestamp != nil
	serving := ready
	published := service.Spec.PublishNotReadyAddresses || ready && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: &published, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		node := pod.Spec.NodeName
		e.NodeName = &node
		if z := zone(node); z != "" {
			e.Zone = &z
		}
	}
	if hostname := backend.Hostname(service, pod); hostname != "" {
		e.Hostname = &hostname
	}
	e.Hints = hints(service, e)
	return e
}

// hints say who should prefer a ready endpoint, by the Service's trafficDistribution (KEP-3015).
func hints(service *corev1.Service, e discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	if service.Spec.TrafficDistribution == nil || !*e.Conditions.Ready {
		return nil
	}
	h := &discoveryv1.EndpointHints{}
	switch *service.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if e.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
	}
	if len(h.ForNodes)+len(h.ForZones) == 0 {
		return nil
	}
	return h
}

// identity tells endpoints apart: one pod at one address.
func identity(e discoveryv1.Endpoint) string {
	id := strings.Join(e.Addresses, ",")
	if e.TargetRef != nil {
		id = e.TargetRef.Name + "|" + string(e.TargetRef.UID) + "|" + id
	}
	return id
}

func portKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	list := make([]string, 0, len(ports))
	for _, p := range ports {
		list = append(list, fmt.Sprintf("%s/%d/%s/%s", deref(p.Name), deref(p.Port), deref(p.Protocol), deref(p.AppProtocol)))
	}
	slices.Sort(list)
	return string(family) + " " + strings.Join(list, ",")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return keys
}
