package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/client"
)

// TestAChangedAddressIsAdvertised: the serving certificate, the endpoints of default/kubernetes and what joining nodes are told follow.
func TestAChangedAddressIsAdvertised(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	s, err := New(Config{
		Paths:    wellknown.Paths{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Config: filepath.Join(dir, "etc")},
		NodeName: "n1", BindAddress: "127.0.0.1", AdvertiseAddress: "192.0.2.1", Port: port,
		ClusterCIDRs: []string{wellknown.DefaultClusterCIDR}, ServiceCIDRs: []string{wellknown.DefaultServiceCIDR},
		ClusterDomain: wellknown.DefaultClusterDomain, NodePortRange: wellknown.DefaultNodePortRange,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-s.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("not ready")
	}
	for _, address := range []string{"192.0.2.1", "198.51.100.7"} {
		s.SetAdvertiseAddress(netip.MustParseAddr(address))
		deadline := time.Now().Add(2 * time.Minute)
		for problem := notAdvertised(s, port, address); problem != ""; problem = notAdvertised(s, port, address) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", address, problem)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// notAdvertised says where an address is missing; "" when it is everywhere.
func notAdvertised(s *Server, port int, address string) string {
	snap := s.client.Snapshot()
	endpoints, ok := client.Get[*corev1.Endpoints](snap, "default", "kubernetes")
	if !ok || len(endpoints.Subsets) != 1 || len(endpoints.Subsets[0].Addresses) != 1 || endpoints.Subsets[0].Addresses[0].IP != address {
		return "not in the endpoints"
	}
	slice, ok := client.Get[*discoveryv1.EndpointSlice](snap, "default", "kubernetes")
	if !ok || len(slice.Endpoints) != 1 || slice.Endpoints[0].Addresses[0] != address {
		return "not in the slice"
	}
	if servers := s.joinCluster().Servers; len(servers) != 1 || !strings.HasPrefix(servers[0], address+":") {
		return "joining nodes are told " + strings.Join(servers, " ")
	}
	conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), &tls.Config{RootCAs: s.CA().Pool(), ServerName: address})
	if err != nil {
		return "certificate: " + err.Error()
	}
	conn.Close()
	return ""
}
