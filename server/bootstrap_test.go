package server

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// TestStartsWithoutReachableAddress: a server for this machine alone, whose address cannot be an endpoint, gets ready all the same.
func TestStartsWithoutReachableAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	s, err := New(Config{
		Paths:    wellknown.Paths{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Config: filepath.Join(dir, "etc")},
		NodeName: "n1", BindAddress: "127.0.0.1", AdvertiseAddress: "127.0.0.1", Port: port,
		ClusterCIDRs: []string{wellknown.DefaultClusterCIDR}, ServiceCIDRs: []string{wellknown.DefaultServiceCIDR},
		ClusterDomain: wellknown.DefaultClusterDomain, NodePortRange: wellknown.DefaultNodePortRange,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		t.Error("not ready after 30 s")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
