package join

import (
	"net/netip"
	"testing"
)

func reserved() *Reserved {
	return &Reserved{
		ServerNames: func() []string { return []string{"localhost", "server-1", "API.example.com", "*.edge.example.com"} },
		ServerAddresses: func() []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}
		},
		Servers:       func() []string { return []string{"10.0.0.2:6443", "[2001:db8::2]:6443", "other.example.com:6443"} },
		ServiceCIDRs:  func() []string { return []string{"10.43.0.0/16"} },
		ClusterDomain: "cluster.local",
		ServiceExists: func(namespace, name string) bool { return namespace == "shop" && name == "web" },
		NodeNamed: func(name string) string {
			return map[string]string{"n2": "n2", "n2.example.com": "n2", "n1": "n1"}[name]
		},
		NodeAt: func(a netip.Addr) string { return map[string]string{"10.0.0.7": "n2", "10.0.0.8": "n1"}[a.String()] },
	}
}

func TestReservedNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"n1": true, "worker.example.com": true, "n3": true, "web.other": true, "kubernetes-1": true,
		"api.example.com": false, "api.example.com.": false, "a.edge.example.com": false, "localhost": false, "server-1": false,
		"other.example.com": false, "kubernetes": false, "kubernetes.default": false, "kubernetes.default.svc": false, "kubernetes.default.svc.cluster.local": false,
		"web.shop": false, "web.shop.svc": false, "x.cluster.local": false, "cluster.local": false, "anything.at.all.svc": false,
		"n2": false, "n2.example.com": false, "*.example.com": false,
	} {
		if err := reserved().CheckName("n1", name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReservedAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"10.0.0.9": true, "10.0.0.8": true, "2001:db8::9": true, "fe80::2": true,
		"10.0.0.1": false, "::ffff:10.0.0.1": false, "fe80::1": false, "10.0.0.2": false, "2001:db8::2": false, "2001:db8::2%x": false,
		"10.43.0.1": false, "::ffff:10.43.0.1": false, "10.0.0.7": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		if err := reserved().CheckAddress("n1", netip.MustParseAddr(address)); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
