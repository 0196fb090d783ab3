package api

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) fieldErrors {
	c, spec := &check{}, at("spec")
	c.selector(spec.Child("podSelector"), &p.Spec.PodSelector)
	for i, r := range p.Spec.Ingress {
		c.policyPorts(spec.Child("ingress").Index(i).Child("ports"), r.Ports)
		c.policyPeers(spec.Child("ingress").Index(i).Child("from"), r.From)
	}
	for i, r := range p.Spec.Egress {
		c.policyPorts(spec.Child("egress").Index(i).Child("ports"), r.Ports)
		c.policyPeers(spec.Child("egress").Index(i).Child("to"), r.To)
	}
	if len(p.Spec.PolicyTypes) > 2 {
		c.invalid(spec.Child("policyTypes"), p.Spec.PolicyTypes, "may not specify more than two policyTypes")
	}
	for i, t := range p.Spec.PolicyTypes {
		oneOf(c, spec.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
	return c.errs
}

func (c *check) policyPorts(at *field.Path, ports []networkingv1.NetworkPolicyPort) {
	for i, p := range ports {
		path := at.Index(i)
		if p.Protocol != nil {
			oneOf(c, path.Child("protocol"), *p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		if p.Port != nil {
			c.portOrName(path.Child("port"), *p.Port)
		}
		if p.EndPort == nil {
			continue
		}
		switch end := path.Child("endPort"); {
		case p.Port == nil:
			c.invalid(end, *p.EndPort, "may not be specified when `port` is not specified")
		case p.Port.Type == intstr.String:
			c.invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric")
		default:
			if *p.EndPort < p.Port.IntVal {
				c.invalid(end, *p.EndPort, "must be greater than or equal to `port`")
			}
			c.invalid(end, *p.EndPort, validation.IsValidPortNum(int(*p.EndPort))...)
		}
	}
}

func (c *check) policyPeers(at *field.Path, peers []networkingv1.NetworkPolicyPeer) {
	for i, p := range peers {
		path := at.Index(i)
		if p.PodSelector != nil {
			c.selector(path.Child("podSelector"), p.PodSelector)
		}
		if p.NamespaceSelector != nil {
			c.selector(path.Child("namespaceSelector"), p.NamespaceSelector)
		}
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock == nil && !selects:
			c.required(path, "must specify a peer")
		case p.IPBlock != nil && selects:
			c.forbidden(path, "may not specify both ipBlock and another peer")
		}
		if p.IPBlock != nil {
			c.ipBlock(path.Child("ipBlock"), p.IPBlock)
		}
	}
}

func (c *check) ipBlock(at *field.Path, b *networkingv1.IPBlock) {
	if !c.needs(at.Child("cidr"), b.CIDR) {
		return
	}
	c.cidr(at.Child("cidr"), b.CIDR)
	outer, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return
	}
	for i, e := range b.Except {
		path := at.Child("except").Index(i)
		c.cidr(path, e)
		if inner, err := netip.ParsePrefix(e); err == nil && (!outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits()) {
			c.invalid(path, e, "must be a strict subset of `cidr`")
		}
	}
}

func validateIngress(i *networkingv1.Ingress) fieldErrors {
	c, spec := &check{}, at("spec")
	if len(i.Spec.Rules) == 0 && i.Spec.DefaultBackend == nil {
		c.invalid(spec, i.Spec.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if i.Spec.DefaultBackend != nil {
		c.backend(spec.Child("defaultBackend"), i.Spec.DefaultBackend)
	}
	for n, r := range i.Spec.Rules {
		path := spec.Child("rules").Index(n)
		if r.Host != "" {
			c.host(path.Child("host"), r.Host)
		}
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			c.required(path.Child("http", "paths"), "")
		}
		for k := range r.HTTP.Paths {
			c.httpPath(path.Child("http", "paths").Index(k), &r.HTTP.Paths[k])
		}
	}
	for n, t := range i.Spec.TLS {
		path := spec.Child("tls").Index(n)
		for k, h := range t.Hosts {
			c.host(path.Child("hosts").Index(k), h)
		}
		c.nameIfSet(path.Child("secretName"), t.SecretName, subdomain)
	}
	if n := i.Spec.IngressClassName; n != nil {
		c.invalid(spec.Child("ingressClassName"), *n, subdomain(*n)...)
	}
	return c.errs
}

func (c *check) host(at *field.Path, h string) {
	if _, err := netip.ParseAddr(h); err == nil {
		c.invalid(at, h, "must be a DNS name, not an IP address")
	}
	if strings.Contains(h, "*") {
		c.invalid(at, h, validation.IsWildcardDNS1123Subdomain(h)...)
	} else {
		c.invalid(at, h, subdomain(h)...)
	}
}

func (c *check) httpPath(at *field.Path, p *networkingv1.HTTPIngressPath) {
	if p.PathType == nil {
		c.required(at.Child("pathType"), "pathType must be specified")
		return
	}
	path := at.Child("path")
	oneOf(c, at.Child("pathType"), *p.PathType, networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	matches := *p.PathType == networkingv1.PathTypeExact || *p.PathType == networkingv1.PathTypePrefix
	if (matches || p.Path != "") && !strings.HasPrefix(p.Path, "/") {
		c.invalid(path, p.Path, "must be an absolute path")
	}
	if matches {
		for _, s := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, s) {
				c.invalid(path, p.Path, fmt.Sprintf("must not contain '%s'", s))
			}
		}
		for _, s := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, s) {
				c.invalid(path, p.Path, fmt.Sprintf("cannot end with '%s'", s))
			}
		}
	}
	c.backend(at.Child("backend"), &p.Backend)
}

func (c *check) backend(at *field.Path, b *networkingv1.IngressBackend) {
	switch {
	case b.Resource != nil && b.Service != nil:
		c.invalid(at, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		c.needs(at.Child("resource", "kind"), b.Resource.Kind)
		c.needs(at.Child("resource", "name"), b.Resource.Name)
	case b.Service != nil:
		c.name(at.Child("service", "name"), b.Service.Name, validation.IsDNS1123Label)
		switch port := b.Service.Port; {
		case port.Name != "" && port.Number != 0:
			c.invalid(at, "", "cannot set both port name & port number")
		case port.Name != "":
			c.invalid(at.Child("service", "port", "name"), port.Name, validation.IsValidPortName(port.Name)...)
		case port.Number != 0:
			c.invalid(at.Child("service", "port", "number"), port.Number, validation.IsValidPortNum(int(port.Number))...)
		default:
			c.required(at, "port name or number is required")
		}
	default:
		c.invalid(at, "", "resource or service backend is required")
	}
}

func validateIngressClass(i *networkingv1.IngressClass) fieldErrors {
	c, spec := &check{}, at("spec")
	if len(i.Spec.Controller) > 250 {
		c.add(field.TooLong(spec.Child("controller"), "", 250))
	}
	c.add(validation.IsDomainPrefixedPath(spec.Child("controller"), i.Spec.Controller)...)
	p, path := i.Spec.Parameters, spec.Child("parameters")
	if p == nil {
		return c.errs
	}
	c.needs(path.Child("kind"), p.Kind)
	c.needs(path.Child("name"), p.Name)
	switch scope := deref(p.Scope); {
	case scope == "":
		c.required(path.Child("scope"), "")
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace && deref(p.Namespace) == "":
		c.required(path.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
	case scope == networkingv1.IngressClassParametersReferenceScopeCluster && p.Namespace != nil:
		c.forbidden(path.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
	default:
		oneOf(c, path.Child("scope"), scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	}
	return c.errs
}

func validateIngressClassUpdate(i, old *networkingv1.IngressClass) fieldErrors {
	c := &check{errs: validateIngressClass(i)}
	c.immutable(at("spec", "controller"), i.Spec.Controller, old.Spec.Controller)
	return c.errs
}
