package api

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// endpointIP: traffic is never sent to an address that means the machine itself, or nothing: a way around the
// isolation of nodes.
func (c *check) endpointIP(at *field.Path, s string) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		c.ip(at, s)
		return
	}
	switch ip = ip.Unmap(); {
	case ip.IsUnspecified():
		c.invalid(at, s, fmt.Sprintf("may not be unspecified (%s)", s))
	case ip.IsLoopback():
		c.invalid(at, s, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		c.invalid(at, s, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		c.invalid(at, s, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

func validateEndpoints(e *corev1.Endpoints) fieldErrors {
	c := &check{}
	for i, s := range e.Subsets {
		path := at("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			c.required(path, "must specify `addresses` or `notReadyAddresses`")
		}
		for _, list := range []struct {
			name      string
			addresses []corev1.EndpointAddress
		}{{"addresses", s.Addresses}, {"notReadyAddresses", s.NotReadyAddresses}} {
			for j, a := range list.addresses {
				p := path.Child(list.name).Index(j)
				c.endpointIP(p.Child("ip"), a.IP)
				c.nameIfSet(p.Child("hostname"), a.Hostname, validation.IsDNS1123Label)
				if a.NodeName != nil {
					c.invalid(p.Child("nodeName"), *a.NodeName, subdomain(*a.NodeName)...)
				}
			}
		}
		for j, port := range s.Ports {
			p := path.Child("ports").Index(j)
			if port.Name != "" {
				c.invalid(p.Child("name"), port.Name, validation.IsDNS1123Label(port.Name)...)
			} else if len(s.Ports) > 1 {
				c.required(p.Child("name"), "")
			}
			c.invalid(p.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port))...)
			oneOf(c, p.Child("protocol"), port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
	}
	return c.errs
}

const (
	maxSliceEndpoints = 1000
	maxSliceAddresses = 100
	maxSlicePorts     = 20000
	maxHints          = 8
)

func validateEndpointSlice(s *discoveryv1.EndpointSlice) fieldErrors {
	c := &check{}
	oneOf(c, at("addressType"), s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	path := at("endpoints")
	if n := len(s.Endpoints); n > maxSliceEndpoints {
		c.add(field.TooMany(path, n, maxSliceEndpoints))
		return c.errs
	}
	for i := range s.Endpoints {
		c.sliceEndpoint(path.Index(i), &s.Endpoints[i], s.AddressType)
	}
	c.slicePorts(at("ports"), s.Ports)
	return c.errs
}

func (c *check) sliceEndpoint(at *field.Path, e *discoveryv1.Endpoint, t discoveryv1.AddressType) {
	path := at.Child("addresses")
	switch n := len(e.Addresses); {
	case n == 0:
		c.required(path, "must contain at least 1 address")
	case n > maxSliceAddresses:
		c.add(field.TooMany(path, n, maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		if t == discoveryv1.AddressTypeFQDN {
			c.invalid(path.Index(i), a, subdomain(a)...)
			continue
		}
		c.endpointIP(path.Index(i), a)
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is4() != (t == discoveryv1.AddressTypeIPv4) {
			c.invalid(path.Index(i), a, fmt.Sprintf("must be an %s address", t))
		}
	}
	if e.NodeName != nil {
		c.invalid(at.Child("nodeName"), *e.NodeName, subdomain(*e.NodeName)...)
	}
	if e.Hostname != nil {
		c.invalid(at.Child("hostname"), *e.Hostname, validation.IsDNS1123Label(*e.Hostname)...)
	}
	if h := e.Hints; h != nil {
		zones := once{}
		if n := len(h.ForZones); n > maxHints {
			c.add(field.TooMany(at.Child("hints", "forZones"), n, maxHints))
		}
		for i, z := range h.ForZones {
			p := at.Child("hints", "forZones").Index(i).Child("name")
			c.invalid(p, z.Name, validation.IsValidLabelValue(z.Name)...)
			zones.add(c, p, z.Name)
		}
	}
}

func (c *check) slicePorts(at *field.Path, ports []discoveryv1.EndpointPort) {
	if n := len(ports); n > maxSlicePorts {
		c.add(field.TooMany(at, n, maxSlicePorts))
		return
	}
	names := once{}
	for i, p := range ports {
		path := at.Index(i)
		name := deref(p.Name)
		c.nameIfSet(path.Child("name"), name, validation.IsDNS1123Label)
		names.add(c, path.Child("name"), name)
		oneOf(c, path.Child("protocol"), deref(p.Protocol), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		if p.Port != nil {
			c.invalid(path.Child("port"), *p.Port, validation.IsValidPortNum(int(*p.Port))...)
		}
		if p.AppProtocol != nil {
			c.invalid(path.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol)...)
		}
	}
}

func validateEndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) fieldErrors {
	c := &check{errs: validateEndpointSlice(s)}
	c.immutable(at("addressType"), s.AddressType, old.AddressType)
	return c.errs
}
