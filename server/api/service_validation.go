package api

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxAffinitySeconds = 86400

// validateService checks a service, whether or not addresses were allocated to it.
func validateService(s *corev1.Service) fieldErrors {
	c, path, spec := &check{}, at("spec"), &s.Spec
	headless := spec.ClusterIP == corev1.ClusterIPNone
	oneOf(c, path.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	if len(spec.Ports) == 0 && !headless && spec.Type != corev1.ServiceTypeExternalName {
		c.required(path.Child("ports"), "")
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless {
			c.invalid(path.Child("clusterIPs").Index(0), spec.ClusterIP, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type))
		}
	case corev1.ServiceTypeExternalName:
		c.mayNotBeSet(path, "may not be set for ExternalName services", map[string]bool{
			"clusterIPs": len(spec.ClusterIPs) > 0 || spec.ClusterIP != "", "ipFamilies": len(spec.IPFamilies) > 0, "ipFamilyPolicy": spec.IPFamilyPolicy != nil,
		})
		c.name(path.Child("externalName"), strings.TrimSuffix(spec.ExternalName, "."), subdomain)
	}
	c.servicePorts(path.Child("ports"), s, headless)
	c.labels(path.Child("selector"), spec.Selector)
	c.sessionAffinity(path, spec)
	c.clusterIPs(path, spec)
	for i, ip := range spec.ExternalIPs {
		c.endpointIP(path.Child("externalIPs").Index(i), ip)
	}
	c.serviceTraffic(path, s)
	c.loadBalancer(path, spec)
	return c.errs
}

func (c *check) servicePorts(at *field.Path, s *corev1.Service, headless bool) {
	names, nodePorts := once{}, once{}
	type key struct {
		proto corev1.Protocol
		port  int32
	}
	seen := map[key]bool{}
	for i, p := range s.Spec.Ports {
		path := at.Index(i)
		if p.Name != "" {
			c.invalid(path.Child("name"), p.Name, validation.IsDNS1123Label(p.Name)...)
			names.add(c, path.Child("name"), p.Name)
		} else if len(s.Spec.Ports) > 1 {
			c.required(path.Child("name"), "")
		}
		c.invalid(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port))...)
		oneOf(c, path.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		c.portOrName(path.Child("targetPort"), p.TargetPort)
		if p.AppProtocol != nil {
			c.invalid(path.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol)...)
		}
		if p.NodePort != 0 {
			if s.Spec.Type == corev1.ServiceTypeClusterIP {
				c.forbidden(path.Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
			}
			if n := (fmt.Sprintf("%s/%d", p.Protocol, p.NodePort)); nodePorts[n] {
				c.add(field.Duplicate(path.Child("nodePort"), p.NodePort))
			} else {
				nodePorts[n] = true
			}
		}
		if k := (key{p.Protocol, p.Port}); seen[k] {
			c.add(field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			seen[k] = true
		}
	}
}

func (c *check) sessionAffinity(at *field.Path, s *corev1.ServiceSpec) {
	oneOf(c, at.Child("sessionAffinity"), s.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	path, conf := at.Child("sessionAffinityConfig"), s.SessionAffinityConfig
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if conf != nil {
			c.forbidden(path, "must not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		if conf == nil || conf.ClientIP == nil || conf.ClientIP.TimeoutSeconds == nil {
			c.required(path, "when session affinity type is ClientIP")
		} else if n := *conf.ClientIP.TimeoutSeconds; n <= 0 || n > maxAffinitySeconds {
			c.invalid(path.Child("clientIP", "timeoutSeconds"), n, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))
		}
	}
}

// clusterIPs checks what is given; what is left out, the allocator fills in.
func (c *check) clusterIPs(at *field.Path, s *corev1.ServiceSpec) {
	if s.Type == corev1.ServiceTypeExternalName {
		return
	}
	ips := at.Child("clusterIPs")
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		c.required(at.Child("clusterIP"), "must be set when clusterIPs is set")
	case len(s.ClusterIPs) > 0 && s.ClusterIPs[0] != s.ClusterIP:
		c.invalid(ips, s.ClusterIPs, "first value must match `clusterIP`")
	case len(s.ClusterIPs) == 0 && s.ClusterIP != "" && s.ClusterIP != corev1.ClusterIPNone:
		c.ip(ips.Index(0), s.ClusterIP)
	}
	if len(s.ClusterIPs) > 2 {
		c.invalid(ips, s.ClusterIPs, "may only hold up to 2 values")
	}
	families := map[bool]bool{}
	for i, ip := range s.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			if i > 0 || len(s.ClusterIPs) > 1 {
				c.invalid(ips.Index(0), s.ClusterIPs, "'None' must be the first and only value")
				break
			}
			continue
		}
		c.ip(ips.Index(i), ip)
		if a, err := netip.ParseAddr(ip); err == nil {
			if families[a.Is4()] {
				c.invalid(ips, s.ClusterIPs, "may specify no more than one IP for each IP family")
			}
			families[a.Is4()] = true
		}
	}
	seen := once{}
	for i, f := range s.IPFamilies {
		oneOf(c, at.Child("ipFamilies").Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol)
		seen.add(c, at.Child("ipFamilies").Index(i), string(f))
	}
	if p := s.IPFamilyPolicy; p != nil {
		oneOf(c, at.Child("ipFamilyPolicy"), *p, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
		if *p == corev1.IPFamilyPolicySingleStack && (len(s.ClusterIPs) > 1 || len(s.IPFamilies) > 1) {
			c.invalid(at.Child("ipFamilyPolicy"), *p, "must be 'RequireDualStack' or 'PreferDualStack' when multiple `ipFamilies` or 'clusterIPs' are specified")
		}
	}
}

func (c *check) serviceTraffic(at *field.Path, s *corev1.Service) {
	spec := &s.Spec
	path := at.Child("externalTrafficPolicy")
	if externallyReachable(spec) {
		oneOf(c, path, spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if spec.ExternalTrafficPolicy != "" {
		c.invalid(path, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	if spec.HealthCheckNodePort != 0 {
		if !needsHealthCheckPort(s) {
			c.invalid(at.Child("healthCheckNodePort"), spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
		} else {
			c.invalid(at.Child("healthCheckNodePort"), spec.HealthCheckNodePort, validation.IsValidPortNum(int(spec.HealthCheckNodePort))...)
		}
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		oneOf(c, at.Child("internalTrafficPolicy"), *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	}
	if d := spec.TrafficDistribution; d != nil {
		oneOf(c, at.Child("trafficDistribution"), *d, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	}
}

func (c *check) loadBalancer(at *field.Path, s *corev1.ServiceSpec) {
	if s.Type != corev1.ServiceTypeLoadBalancer {
		c.mayNotBeSet(at, "may only be used when `type` is 'LoadBalancer'", map[string]bool{
			"loadBalancerSourceRanges":      len(s.LoadBalancerSourceRanges) > 0,
			"allocateLoadBalancerNodePorts": s.AllocateLoadBalancerNodePorts != nil,
			"loadBalancerClass":             s.LoadBalancerClass != nil,
		})
		return
	}
	for i, r := range s.LoadBalancerSourceRanges {
		c.cidr(at.Child("loadBalancerSourceRanges").Index(i), strings.TrimSpace(r))
	}
	if s.LoadBalancerClass != nil {
		c.invalid(at.Child("loadBalancerClass"), *s.LoadBalancerClass, validation.IsQualifiedName(*s.LoadBalancerClass)...)
	}
}

// validateServiceUpdate: the first cluster IP stays while the type needs one; other things may change.
func validateServiceUpdate(s, old *corev1.Service) fieldErrors {
	c, spec := &check{errs: validateService(s)}, at("spec")
	if needsClusterIP(s) && needsClusterIP(old) && old.Spec.ClusterIP != "" && s.Spec.ClusterIP != old.Spec.ClusterIP {
		c.invalid(spec.Child("clusterIPs").Index(0), s.Spec.ClusterIP, "may not change once set")
	}
	if len(old.Spec.IPFamilies) > 0 && len(s.Spec.IPFamilies) > 0 && needsClusterIP(s) && old.Spec.IPFamilies[0] != s.Spec.IPFamilies[0] {
		c.invalid(spec.Child("ipFamilies").Index(0), s.Spec.IPFamilies[0], "may not change once set")
	}
	if needsHealthCheckPort(s) && needsHealthCheckPort(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		c.forbidden(spec.Child("healthCheckNodePort"), "field is immutable")
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == s.Spec.Type && deref(s.Spec.LoadBalancerClass) != deref(old.Spec.LoadBalancerClass) {
		c.invalid(spec.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set")
	}
	return c.errs
}

func validateServiceStatus(s, _ *corev1.Service) fieldErrors {
	c, path := &check{}, at("status", "loadBalancer", "ingress")
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) > 0 {
		c.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
		return c.errs
	}
	for i, in := range s.Status.LoadBalancer.Ingress {
		p := path.Index(i)
		if in.IP != "" {
			c.ip(p.Child("ip"), in.IP)
		}
		switch {
		case in.IP == "" && in.IPMode != nil:
			c.forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set")
		case in.IPMode != nil:
			oneOf(c, p.Child("ipMode"), *in.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		case in.IP != "":
			c.required(p.Child("ipMode"), "must be specified when `ip` is set")
		}
		if in.Hostname != "" {
			c.invalid(p.Child("hostname"), in.Hostname, subdomain(in.Hostname)...)
			if _, err := netip.ParseAddr(in.Hostname); err == nil {
				c.invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return c.errs
}
