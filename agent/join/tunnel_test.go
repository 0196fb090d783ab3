package join_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/agent/join"
	"codeberg.org/skiff/skiff/server/tunnel"
)

// echo answers on a loopback port with what it is sent, and closes when the sender has no more.
func echo(t testing.TB) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// connect joins node1 and opens its tunnel, which may reach the given kubelet port.
func connect(t *testing.T, cp *controlPlane, kubelet int) (stop func()) {
	t.Helper()
	id := cp.join(t.TempDir())
	reach, err := join.NewReach(kubelet, id.Cluster().ClusterCIDRs, id.Cluster().ServiceCIDRs)
	if err != nil {
		t.Fatal(err)
	}
	b := id.Balancer()
	tun := join.NewTunnel(join.TunnelConfig{TLS: id.ClientTLS, Servers: b.Servers, Allow: reach})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tun.Run(ctx) }()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	waitForTunnel(t, cp)
	return stop
}

func waitForTunnel(t *testing.T, cp *controlPlane) {
	t.Helper()
	eventually(t, "connected", func() bool { return len(cp.tunnels.Nodes()) == 1 })
}

func TestTunnel(t *testing.T) {
	cp := newControlPlane(t)
	port := echo(t)
	stop := connect(t, cp, port)
	addr := fmt.Sprint("127.0.0.1:", port)
	ctx := context.Background()
	c, err := cp.tunnels.Dial(ctx, "node1", addr)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789"), 200_000)
	go func() { c.Write(data) }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Fatal("echo:", err)
	}
	// Deadlines, after which the connection is still good.
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	c.Write([]byte("still"))
	if _, err := io.ReadFull(c, got[:5]); err != nil || string(got[:5]) != "still" {
		t.Errorf("after the deadline: %v", err)
	}
	c.Close()
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}

	for addr, want := range map[string]string{"127.0.0.1:22": "only the kubelet's port", "192.0.2.1:80": "no pod", "localhost:80": "not an address"} {
		if _, err := cp.tunnels.Dial(ctx, "node1", addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := cp.tunnels.Dial(ctx, "node2", addr); !errors.Is(err, tunnel.ErrNoTunnel) {
		t.Errorf("another node: %v", err)
	}
	if c, err := cp.tunnels.Dial(ctx, "", addr); err != nil {
		t.Errorf("any node: %v", err)
	} else {
		c.Close()
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := cp.tunnels.Dial(done, "node1", addr); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	// The agent ends: so do its connections.
	c, err = cp.tunnels.Dial(ctx, "node1", addr)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(got); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the agent ended: %v", err)
	}
	c.Close()
	eventually(t, "gone", func() bool { return len(cp.tunnels.Nodes()) == 0 })
	if _, err := cp.tunnels.Dial(ctx, "node1", addr); !errors.Is(err, tunnel.ErrNoTunnel) {
		t.Errorf("after the agent ended: %v", err)
	}
}

// TestLastBytesArrive: what was written just before Close gets there.
func TestLastBytesArrive(t *testing.T) {
	cp := newControlPlane(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect(t, cp, l.Addr().(*net.TCPAddr).Port)
	for range 20 {
		c, err := cp.tunnels.Dial(context.Background(), "node1", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("last words"))
		c.Close()
		if got, err := io.ReadAll(in); string(got) != "last words" {
			t.Fatalf("%q, %v", got, err)
		}
		in.Close()
	}
}

func TestThousandDials(t *testing.T) {
	cp := newControlPlane(t)
	port := echo(t)
	connect(t, cp, port)
	var wg sync.WaitGroup
	open := make(chan net.Conn, 1000)
	for i := range 1000 {
		wg.Go(func() {
			c, err := cp.tunnels.Dial(context.Background(), "node1", fmt.Sprint("127.0.0.1:", port))
			if err != nil {
				t.Error(err)
				return
			}
			open <- c
			want := fmt.Sprintf("%04d", i)
			c.Write([]byte(want))
			got := make([]byte, 4)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", want, got, err)
			}
		})
	}
	wg.Wait()
	close(open)
	for c := range open {
		c.Close()
	}
}

// TestReconnects: the server goes away and comes back at the same address.
func TestReconnects(t *testing.T) {
	cp := newControlPlane(t)
	port := echo(t)
	connect(t, cp, port)
	for range 2 {
		cp.stop()
		cp.start(cp.addr)
		waitForTunnel(t, cp)
		c, err := cp.tunnels.Dial(context.Background(), "node1", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// TestStuckConnection: one that nobody reads does not hold up the others.
func TestStuckConnection(t *testing.T) {
	cp := newControlPlane(t)
	port := echo(t)
	connect(t, cp, port)
	addr := fmt.Sprint("127.0.0.1:", port)
	stuck, err := cp.tunnels.Dial(context.Background(), "node1", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	stuck.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := io.Copy(stuck, io.LimitReader(zero{}, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing without reading: %v", err)
	}
	c, err := cp.tunnels.Dial(context.Background(), "node1", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("hello"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Errorf("beside a stuck one: %v", err)
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { return len(p), nil }

func TestReach(t *testing.T) {
	r, err := join.NewReach(10250, []string{"10.42.0.0/16", "fd00::/64"}, []string{"10.43.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	r.Own = func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.42.0.1"), netip.MustParseAddr("192.0.2.7")}, nil
	}
	for addr, ok := range map[string]bool{
		"127.0.0.1:10250": true, "[::1]:10250": true, "192.0.2.7:10250": true, "10.42.0.1:10250": true, "10.42.3.4:80": true, "10.43.0.1:443": true, "[fd00::5]:80": true,
		"127.0.0.1:22": false, "10.42.0.1:22": false, "192.0.2.7:22": false, "192.0.2.8:10250": false, "169.254.169.254:80": false, "0.0.0.0:10250": false,
		"[::ffff:127.0.0.1]:22": false, "[::ffff:10.42.3.4]:80": true, "[fd00::5%eth0]:80": true, "kubelet:10250": false, "10.42.3.4": false, "10.42.3.4:0": false, "10.42.3.4:99999": false, "": false,
	} {
		if err := r.Check(addr); (err == nil) != ok || err != nil && !errors.Is(err, join.ErrNotAllowed) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
