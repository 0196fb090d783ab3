package server

import (
	"strings"
	"testing"
)

// What a flag cannot mean is an error at the start, and not found out by whoever asks for the name.
func TestNamesOfFlags(t *testing.T) {
	for _, name := range []string{"api.example.com", "API.example.com.", "*.example.com", "box_1", "10.0.0.1", "fd00::1"} {
		if err := checkSAN(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "bad name!", "https://api.example.com", "api.example.com:6443", "a,b", "*", "10.0.0.1/24", "-a"} {
		if err := checkSAN(name); err == nil {
			t.Errorf("--tls-san %q is accepted", name)
		}
	}
	for domain, want := range map[string]bool{"cluster.local": true, "k8s": true, "": true, "-a": false, "a b": false, "cluster.local.": false} {
		c := Config{ClusterCIDRs: []string{"10.42.0.0/16"}, ServiceCIDRs: []string{"10.43.0.0/16"}, ClusterDomain: domain, NodePortRange: "30000-32767"}
		if _, err := c.validate(); want == (err != nil && strings.Contains(err.Error(), "--cluster-domain")) {
			t.Errorf("--cluster-domain %q: %v", domain, err)
		}
	}
}
