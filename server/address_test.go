package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"codeberg.org/skiff/skiff/server/client"
)

// TestAChangedAddressIsAdvertised: the serving certificate, the endpoints of default/kubernetes and what joining nodes are told follow.
func TestAChangedAddressIsAdvertised(t *testing.T) {
	s, stop := running(t, t.TempDir())
	defer stop()
	for _, address := range []string{"203.0.113.9", "198.51.100.7"} {
		s.SetAdvertiseAddress(netip.MustParseAddr(address))
		deadline := time.Now().Add(2 * time.Minute)
		for problem := notAdvertised(s, address); problem != ""; problem = notAdvertised(s, address) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", address, problem)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// notAdvertised says where an address is missing; "" when it is everywhere.
func notAdvertised(s *Server, address string) string {
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
	conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.cfg.Port)), &tls.Config{RootCAs: s.CA().Pool(), ServerName: address})
	if err != nil {
		return "certificate: " + err.Error()
	}
	conn.Close()
	return ""
}
