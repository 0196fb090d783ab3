package endpointslicemirroring

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxEndpoints of a slice is what the API allows; more of one family with the same ports are left out, as upstream does.
const maxEndpoints = 1000

// notCopied are the annotations of Endpoints that say nothing about their slices.
var notCopied = []string{corev1.LastAppliedConfigAnnotation, corev1.EndpointsLastChangeTriggerTime, corev1.EndpointsOverCapacity}

type plan struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

func (p plan) String() string {
	var b strings.Builder
	show := func(verb string, list []*discoveryv1.EndpointSlice) {
		for _, s := range list {
			fmt.Fprintf(&b, "%s %s %s endpoints=%d ports=%d\n", verb, s.Name, s.AddressType, len(s.Endpoints), len(s.Ports))
		}
	}
	show("create", p.create)
	show("update", p.update)
	show("delete", p.remove)
	return b.String()
}

// decide is pure: one slice for each family and list of ports; a slice that fits is kept and brought up to date.
func decide(e *corev1.Endpoints, have []*discoveryv1.EndpointSlice) plan {
	var p plan
	want := slicesOf(e)
	for _, slice := range have {
		key := keyOf(slice)
		next := want[key]
		if next == nil {
			p.remove = append(p.remove, slice)
			continue
		}
		delete(want, key)
		meta := *slice.ObjectMeta.DeepCopy()
		meta.Labels, meta.Annotations, meta.OwnerReferences = next.Labels, next.Annotations, next.OwnerReferences
		next.ObjectMeta = meta
		if !equality.Semantic.DeepEqual(slice, next) {
			p.update = append(p.update, next)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		p.create = append(p.create, want[key])
	}
	return p
}

func slicesOf(e *corev1.Endpoints) map[string]*discoveryv1.EndpointSlice {
	want := map[string]*discoveryv1.EndpointSlice{}
	for _, subset := range e.Subsets {
		for i, addresses := range [][]corev1.EndpointAddress{subset.Addresses, subset.NotReadyAddresses} {
			for _, a := range addresses {
				ip, err := netip.ParseAddr(a.IP)
				if err != nil {
					continue
				}
				family := discoveryv1.AddressTypeIPv4
				if ip.Is6() {
					family = discoveryv1.AddressTypeIPv6
				}
				fresh := newSlice(e, family, subset.Ports)
				key := keyOf(fresh)
				if want[key] == nil {
					want[key] = fresh
				}
				if slice := want[key]; len(slice.Endpoints) < maxEndpoints {
					slice.Endpoints = append(slice.Endpoints, endpointOf(a, i == 0))
				}
			}
		}
	}
	return want
}

func newSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	labels, annotations := maps.Clone(e.Labels), maps.Clone(e.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = e.Name, managedBy
	maps.DeleteFunc(annotations, func(key, _ string) bool { return slices.Contains(notCopied, key) })
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, GenerateName: e.Name + "-", Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))}},
		AddressType: family,
	}
	for _, p := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return slice
}

func endpointOf(a corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: a.NodeName}
	if a.TargetRef != nil {
		e.TargetRef = a.TargetRef.DeepCopy()
	}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e
}

// keyOf is equal for slices of the same family and ports.
func keyOf(s *discoveryv1.EndpointSlice) string {
	ports := make([]string, 0, len(s.Ports))
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%s/%d/%s/%s", deref(p.Name), deref(p.Port), deref(p.Protocol), deref(p.AppProtocol)))
	}
	slices.Sort(ports)
	return string(s.AddressType) + " " + strings.Join(ports, ",")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
