package netproxy

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// TestHints: endpoints as "address node zone", with the hints of PreferSameZone or PreferSameNode; a trailing ! is one that only terminates.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		name      string
		here      place
		byNode    bool
		endpoints []string
		want      string
	}{
		{"same zone", place{"n1", "a"}, false, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 b", "10.0.0.3 n1 a"}, "10.0.0.1 10.0.0.3"},
		{"same node", place{"n1", "a"}, true, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 b", "10.0.0.3 n1 a"}, "10.0.0.3"},
		{"no endpoint on the node: the zone", place{"n4", "a"}, true, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 b"}, "10.0.0.1"},
		{"none in the zone: all", place{"n4", "c"}, false, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 b"}, "10.0.0.1 10.0.0.2"},
		{"no zone here: all", place{"n4", ""}, false, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 b"}, "10.0.0.1 10.0.0.2"},
		{"one without hints: all", place{"n1", "a"}, false, []string{"10.0.0.1 n2 a", "10.0.0.2 n3 -"}, "10.0.0.1 10.0.0.2"},
		{"the near one only terminates", place{"n1", "a"}, false, []string{"10.0.0.1 n1 a!", "10.0.0.2 n3 b"}, "10.0.0.2"},
		{"all terminate: hints say nothing", place{"n1", "a"}, false, []string{"10.0.0.1 n1 a!", "10.0.0.2 n3 b!"}, "10.0.0.1 10.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.1", Ports: []corev1.ServicePort{{Port: 80}}}}
			port := int32(8080)
			slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
			for _, text := range c.endpoints {
				var addr, node, zone string
				fmt.Sscan(strings.TrimSuffix(text, "!"), &addr, &node, &zone)
				ready, yes := !strings.HasSuffix(text, "!"), true
				e := discoveryv1.Endpoint{Addresses: []string{addr}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &yes}}
				if !ready {
					e.Conditions.Terminating = &yes
				}
				if zone != "-" {
					e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
					if c.byNode {
						e.Hints.ForNodes = []discoveryv1.ForNode{{Name: node}}
					}
				}
				slice.Endpoints = append(slice.Endpoints, e)
			}
			var got []string
			for _, e := range portsOf(svc, []*discoveryv1.EndpointSlice{slice}, c.here, iptables.IPv4)[0].all {
				got = append(got, e.addr.String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
