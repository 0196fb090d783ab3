package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service() *Kind {
	return &Kind{
		Kind: "Service", Plural: "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[corev1.Service, corev1.ServiceList]("", "v1")},
		Prefix:   "/registry/services/specs",
		Strategy: Strategy{
			Default:                  do(defaultService),
			PrepareCreate:            do(func(s *corev1.Service) { s.Status = corev1.ServiceStatus{} }),
			PrepareUpdate:            doPair(prepareServiceUpdate),
			Validate:                 one(validateService),
			ValidateUpdate:           pair(validateServiceUpdate),
			ValidateName:             apivalidation.NameIsDNSLabel,
			Warnings:                 pair(serviceWarnings),
			AllowCreateOnUpdate:      true,
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *corev1.Service) {
				to.Status = from.Status
				defaultService(to) // ipMode
			}, validateServiceStatus),
			connect("proxy", core("ServiceProxyOptions"), func() runtime.Object { return &corev1.ServiceProxyOptions{} }, proxyVerbs...),
		},
		Columns: []Column{
			str("Type", "how the service is reached", func(s *corev1.Service) string { return string(s.Spec.Type) }),
			str("Cluster-IP", "address inside the cluster", func(s *corev1.Service) string {
				if len(s.Spec.ClusterIPs) > 0 {
					return s.Spec.ClusterIPs[0]
				}
				return orNone(s.Spec.ClusterIP)
			}),
			str("External-IP", "addresses outside the cluster", externalIPs),
			str("Port(s)", "ports, with their node ports", servicePorts),
			age(),
			wide(str("Selector", "labels of the pods behind it", func(s *corev1.Service) string { return formatLabels(s.Spec.Selector) })),
		},
		Fields: one(func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		}),
		FieldNames: []string{"spec.clusterIP", "spec.type"},
	}
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	blank(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	blank(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		blank(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyReachable(spec) {
		blank(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeExternalName {
		unset(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		unset(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				unset(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// externallyReachable services are those for which externalTrafficPolicy means something.
func externallyReachable(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer || s.Type == corev1.ServiceTypeNodePort ||
		s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
}

// prepareServiceUpdate keeps the status, and lets a manifest that names no addresses and node ports be applied over a
// service that was given some: they are taken over from old. What the new type has no use for is dropped.
func prepareServiceUpdate(s, old *corev1.Service) {
	s.Status = old.Status
	if needsClusterIP(s) && needsClusterIP(old) {
		if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != old.Spec.ClusterIP && slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP} // a client that knows only the older field changed it
		}
		blank(&s.Spec.ClusterIP, old.Spec.ClusterIP)
		if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP == old.Spec.ClusterIP {
			s.Spec.ClusterIPs = old.Spec.ClusterIPs
		}
	}
	if needsNodePort(s) && needsNodePort(old) {
		takeNodePorts(s, old)
	}
	if needsHealthCheckPort(s) && needsHealthCheckPort(old) {
		blank(&s.Spec.HealthCheckNodePort, old.Spec.HealthCheckNodePort)
	}
	if s.Spec.Type != old.Spec.Type {
		dropForType(s, old)
	}
	if !externallyReachable(&s.Spec) && externallyReachable(&old.Spec) {
		s.Spec.ExternalTrafficPolicy = ""
	}
}

func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// takeNodePorts gives ports without a node port the one their protocol and number had before, if it is still free.
func takeNodePorts(s, old *corev1.Service) {
	type port struct {
		proto corev1.Protocol
		n     int32
	}
	had, used := map[port]int32{}, map[port]bool{}
	for _, p := range old.Spec.Ports {
		had[port{p.Protocol, p.Port}] = p.NodePort
	}
	for _, p := range s.Spec.Ports {
		used[port{p.Protocol, p.NodePort}] = p.NodePort != 0
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if np := had[port{p.Protocol, p.Port}]; p.NodePort == 0 && np != 0 && !used[port{p.Protocol, np}] {
			p.NodePort = np
			used[port{p.Protocol, np}] = true
		}
	}
}

// dropForType drops what belonged to the old type, where the update left it as it was.
func dropForType(s, old *corev1.Service) {
	n, o := &s.Spec, &old.Spec
	if needsClusterIP(old) && !needsClusterIP(s) {
		if n.ClusterIP == o.ClusterIP {
			n.ClusterIP, n.ClusterIPs = "", nil
		}
		n.IPFamilies, n.IPFamilyPolicy = nil, nil
		if deref(n.InternalTrafficPolicy) == deref(o.InternalTrafficPolicy) {
			n.InternalTrafficPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(s) {
		had := map[int32]bool{}
		for _, p := range o.Ports {
			had[p.NodePort] = true
		}
		for i := range n.Ports {
			if had[n.Ports[i].NodePort] {
				n.Ports[i].NodePort = 0
			}
		}
	}
	if needsHealthCheckPort(old) && !needsHealthCheckPort(s) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if o.Type == corev1.ServiceTypeLoadBalancer {
		if deref(n.AllocateLoadBalancerNodePorts) == deref(o.AllocateLoadBalancerNodePorts) {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if deref(n.LoadBalancerClass) == deref(o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	if o.Type == corev1.ServiceTypeExternalName && n.ExternalName == o.ExternalName {
		n.ExternalName = ""
	}
}

func externalIPs(s *corev1.Service) string {
	var ips []string
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		for _, in := range s.Status.LoadBalancer.Ingress {
			if ip := in.IP; ip != "" {
				ips = append(ips, ip)
			} else if in.Hostname != "" {
				ips = append(ips, in.Hostname)
			}
		}
		if len(ips)+len(s.Spec.ExternalIPs) == 0 {
			return "<pending>"
		}
	}
	return orNone(strings.Join(append(ips, s.Spec.ExternalIPs...), ","))
}

func servicePorts(s *corev1.Service) string {
	var ports []string
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			ports = append(ports, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return orNone(strings.Join(ports, ","))
}
