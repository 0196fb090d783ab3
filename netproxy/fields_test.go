package netproxy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// TestEveryFieldOfAServiceIsHonoured sets one field after the other of a Service with an endpoint here and one elsewhere. want must be
// in the rules with it and not without it; not must be in the rules without it and not with it.
func TestEveryFieldOfAServiceIsHonoured(t *testing.T) {
	here, there, no, yes := "here", "there", false, true
	local, proxy, seconds := corev1.ServiceInternalTrafficPolicyLocal, corev1.LoadBalancerIPModeProxy, int32(77)
	number, protocol := int32(8080), corev1.ProtocolTCP
	slices := []*discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &number, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.42.0.5"}, NodeName: &here},
			{Addresses: []string{"10.42.1.5"}, NodeName: &there},
			{Addresses: []string{"10.42.0.6"}, NodeName: &here, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &no}},
			{Addresses: []string{"10.42.0.7"}, NodeName: &here, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}},
		}}}
	balancer := func(change func(*corev1.Service)) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, 30080
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}
			if change != nil {
				change(s)
			}
		}
	}
	for name, c := range map[string]struct {
		base, set func(*corev1.Service)
		want, not string
	}{
		"clusterIPs":            {nil, func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.43.0.99"} }, "10.43.0.99", "10.43.0.20"},
		"ports[].port":          {nil, func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }, "--dport 81 ", "--dport 80 "},
		"ports[].protocol":      {nil, func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP }, "", "10.42.0.5:8080"},
		"type NodePort":         {nil, func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = "NodePort", 30080 }, "30080", ""},
		"externalIPs":           {nil, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"198.51.100.8"} }, "198.51.100.8", ""},
		"internalTrafficPolicy": {nil, func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = &local }, "", "10.42.1.5"},
		"externalTrafficPolicy": {balancer(nil), func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = "Local" }, "SKIFF-SVC-X", ""},
		"sessionAffinity":       {nil, func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" }, "--seconds 10800", ""},
		"sessionAffinityConfig": {func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" }, func(s *corev1.Service) {
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}, "--seconds 77", "--seconds 10800"},
		"loadBalancerSourceRanges": {balancer(nil), func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{" 192.0.2.0/24"} }, "192.0.2.0/24", ""},
		"status ipMode":            {balancer(nil), func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = &proxy }, "", "203.0.113.9"},
		"headless":                 {nil, func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, "", "10.42.0.5"},
		"type ExternalName":        {nil, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, "", "10.42.0.5"},
		"service-proxy-name":       {balancer(nil), func(s *corev1.Service) { s.Labels = map[string]string{labelProxyName: "other"} }, "", "10.42.0.5"},
	} {
		render := func(changes ...func(*corev1.Service)) string {
			svc := service("web", "10.43.0.20", nil)
			svc.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
			for _, change := range changes {
				if change != nil {
					change(svc)
				}
			}
			return withoutFixed(scratch(iptables.IPv4, map[string]*corev1.Service{"web": svc}, map[string][]*discoveryv1.EndpointSlice{"web": slices})).Text()
		}
		without, with := render(c.base), render(c.base, c.set)
		if without == with {
			t.Errorf("%s is ignored:\n%s", name, with)
		}
		if c.want != "" && !strings.Contains(with, c.want) {
			t.Errorf("%s: %q is not in\n%s", name, c.want, with)
		}
		if c.not != "" && (!strings.Contains(without, c.not) || strings.Contains(with, c.not)) {
			t.Errorf("%s: %q should only be in the first of\n%s\n%s", name, c.not, without, with)
		}
		if strings.Contains(with, "10.42.0.6") || strings.Contains(with, "10.42.0.7") {
			t.Errorf("%s: endpoints that are not ready get connections, though others are:\n%s", name, with)
		}
	}
}

// healthCheckNodePort answers for Services that ask for it, with what is here.
func TestHealthCheckNodePortIsOfLocalBalancersOnly(t *testing.T) {
	here := "here"
	slices := []*discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.5"}, NodeName: &here}}}}
	svc := service("web", "10.43.0.20", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 32000
	})
	if port, local := healthOf(svc, slices, here); port != 32000 || local != 1 {
		t.Errorf("port %d with %d endpoints", port, local)
	}
	if _, local := healthOf(svc, slices, "there"); local != 0 {
		t.Errorf("%d endpoints on another node", local)
	}
	for name, change := range map[string]func(){"Cluster": func() { svc.Spec.ExternalTrafficPolicy = "Cluster" },
		"another proxy": func() { svc.Labels = map[string]string{labelProxyName: "x"} }} {
		change()
		if port, _ := healthOf(svc, slices, here); port != 0 {
			t.Errorf("%s: port %d", name, port)
		}
	}
}
