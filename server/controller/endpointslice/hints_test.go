package endpointslice

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestHintsFollowTheService(t *testing.T) {
	node, zone, yes, no := "n", "z", true, false
	for _, c := range []struct {
		distribution string
		zone         *string
		ready        *bool
		want         string
	}{
		{"", &zone, &yes, "none"},
		{corev1.ServiceTrafficDistributionPreferClose, &zone, &yes, "zones [{z}] nodes []"},
		{corev1.ServiceTrafficDistributionPreferSameZone, &zone, &yes, "zones [{z}] nodes []"},
		{corev1.ServiceTrafficDistributionPreferSameZone, nil, &yes, "none"},
		{corev1.ServiceTrafficDistributionPreferSameNode, &zone, &yes, "zones [{z}] nodes [{n}]"},
		{corev1.ServiceTrafficDistributionPreferSameNode, nil, &yes, "zones [] nodes [{n}]"},
		{corev1.ServiceTrafficDistributionPreferSameNode, &zone, &no, "none"},
		{"Else", &zone, &yes, "none"},
	} {
		svc := &corev1.Service{}
		if c.distribution != "" {
			svc.Spec.TrafficDistribution = &c.distribution
		}
		got := "none"
		if h := hints(svc, discoveryv1.Endpoint{NodeName: &node, Zone: c.zone, Conditions: discoveryv1.EndpointConditions{Ready: c.ready}}); h != nil {
			got = fmt.Sprintf("zones %v nodes %v", h.ForZones, h.ForNodes)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.distribution, got, c.want)
		}
	}
}
