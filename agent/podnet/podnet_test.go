package podnet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/netnstest"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

func network(t testing.TB, node string, ip string) *Network {
	t.Helper()
	cfg := Config{NodeName: node, ClusterCIDRs: prefixes("10.42.0.0/16"), ServiceCIDRs: prefixes("10.43.0.0/16"), StateDir: t.TempDir()}
	if ip != "" {
		cfg.NodeIPs = []netip.Addr{netip.MustParseAddr(ip)}
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func setup(t testing.TB, n *Network, cidr ...string) {
	t.Helper()
	if err := n.Setup(context.Background(), prefixes(cidr...)); err != nil {
		t.Fatal(err)
	}
}

func attach(t testing.TB, n *Network, id, path string) netip.Addr {
	t.Helper()
	addrs, err := n.Attach(context.Background(), id, path)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func shell(t testing.TB, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

const ping = "timeout 3 busybox ping -c1 -W2 "

// kernel is all that podnet may have changed.
func kernel(t testing.TB) string {
	return shell(t, "ip -d link | sed 's/ state .*//; s/hello_timer.*gc_timer *[0-9.]*//' ; ip addr show skiff0; ip route; ip neigh show nud permanent; iptables-save | grep -v '^[#:]'")
}

func TestPodsReachEachOther(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	ctx := context.Background()
	n := network(t, "a", "")
	if _, err := n.Attach(ctx, "x", "/none"); err != ErrNotReady {
		t.Fatalf("Attach before Setup: %v", err)
	}
	setup(t, n, "10.42.0.0/24")
	a, b := netnstest.New(t, "a"), netnstest.New(t, "b")
	ipA, ipB := attach(t, n, "a", a.Path), attach(t, n, "b", b.Path)
	a.Must("sh", "-c", ping+ipB.String())
	a.Must("sh", "-c", ping+"10.42.0.1")
	a.Must("sh", "-c", ping+"127.0.0.1")
	shell(t, ping+ipA.String())
	if hops := a.Must("sh", "-c", "busybox traceroute -n -q1 -w1 -m3 "+ipB.String()+" | tail -n +2 | wc -l"); hops != "2" {
		t.Errorf("pods of one node must be routed, not bridged: %s hops", hops)
	}
	if got := attach(t, n, "a", a.Path); got != ipA {
		t.Errorf("Attach again gave %s, want %s", got, ipA)
	}
	before := kernel(t)
	restarted, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	setup(t, restarted, "10.42.0.0/24")
	if after := kernel(t); after != before {
		t.Errorf("Setup after a restart changed the kernel:\n%s\nbefore:\n%s", after, before)
	}
	if out, err := a.Run("sh", "-c", "busybox sysctl net.ipv4.conf.eth0.forwarding; ip -6 addr show dev eth0 | grep -c global || true"); err != nil {
		t.Error(out, err)
	}
	if err := restarted.Reconcile(ctx, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Run("ip", "link", "show", "eth0"); err == nil {
		t.Errorf("b is not in use but still has %s", out)
	}
	a.Must("sh", "-c", ping+"10.42.0.1")
	for range 2 {
		if err := restarted.Detach(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := os.ReadDir(n.addresses.dir); len(files) != 0 {
		t.Errorf("addresses left: %v", files)
	}
	if err := n.CleanUp(ctx); err != nil {
		t.Fatal(err)
	}
	if left := shell(t, "ip link; ip route; iptables-save") + "\n"; strings.Contains(left, "skiff") || strings.Contains(left, "SKIFF") {
		t.Errorf("CleanUp left\n%s", left)
	}
}

func TestAnAddressUsedAgainIsReachableAtOnce(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	n := network(t, "a", "")
	setup(t, n, "10.42.0.0/30") // one pod fits
	for i := range 3 {
		id := fmt.Sprint("pod", i)
		pod := netnstest.New(t, id)
		ip := attach(t, n, id, pod.Path)
		shell(t, ping+ip.String())
		if err := n.Detach(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOldNamespaceOfTheSameID(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	n := network(t, "a", "")
	setup(t, n, "10.42.0.0/24", "fd42::/64")
	old, pod := netnstest.New(t, "old"), netnstest.New(t, "new")
	first := attach(t, n, "id", old.Path)
	if again := attach(t, n, "id", pod.Path); again != first {
		t.Errorf("the id keeps its address: %s, then %s", first, again)
	}
	pod.Must("sh", "-c", ping+"10.42.0.1")
	pod.Must("sh", "-c", "timeout 3 busybox ping -6 -c1 -W2 fd42::1")
}

type nodeList []*corev1.Node

func (l nodeList) Synced() <-chan struct{}      { return nil }
func (l nodeList) Nodes() []*corev1.Node        { return l }
func (l nodeList) OnNodes(func()) (stop func()) { return func() {} }

// TestOverlay has two nodes, each in a namespace, joined by a veth, and a third namespace that is the world outside.
func TestOverlay(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	ctx := context.Background()
	hosts := []*netnstest.NS{netnstest.New(t, "hosta"), netnstest.New(t, "hostb")}
	shell(t, "ip link add br0 type bridge; ip link set br0 up; ip addr add 192.0.2.254/24 dev br0")
	var nets []*Network
	var pods []*netnstest.NS
	var ips []netip.Addr
	nodes := nodeList(parseNodes(t, "a - 10.42.0.0/24\nb - 10.42.1.0/24"))
	for i, host := range hosts {
		ip := fmt.Sprintf("192.0.2.%d", i+1)
		shell(t, fmt.Sprintf("ip link add h%d type veth peer name up0; ip link set h%d master br0 up", i, i))
		if out, err := exec.Command("nsenter", "--net="+host.Path, "true").CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		pid := fmt.Sprintf("ip link set up0 netns %s", host.Path)
		shell(t, pid)
		host.Must("sh", "-c", "ip link set lo up; ip link set up0 up; ip addr add "+ip+"/24 dev up0; ip route add default via 192.0.2.254")
		n := network(t, nodes[i].Name, ip)
		n.cfg.Nodes = nodes
		n.cfg.PublishVTEP = func(_ context.Context, v string) error {
			nodes[i].Annotations[wellknown.AnnotationVTEP] = v
			return nil
		}
		nets = append(nets, n)
		pods = append(pods, netnstest.New(t, "pod"+nodes[i].Name))
	}
	round := func() {
		for i, n := range nets {
			hosts[i].Do(func() {
				if problems, err := n.reconcile(ctx); err != nil || len(problems) > 0 {
					t.Error(problems, err)
				}
			})
		}
	}
	round() // publishes
	round()
	for i, n := range nets {
		hosts[i].Do(func() { ips = append(ips, attach(t, n, "pod", pods[i].Path)) })
	}
	pods[0].Must("sh", "-c", ping+ips[1].String())
	pods[1].Must("sh", "-c", ping+ips[0].String())
	pods[0].Must("sh", "-c", ping+"-s 4000 "+ips[1].String())
	hosts[0].Must("sh", "-c", ping+ips[1].String())
	hosts[0].Must("sh", "-c", ping+"-I 192.0.2.1 "+ips[1].String())
	pods[0].Must("sh", "-c", ping+"192.0.2.2")
	pods[0].Must("sh", "-c", ping+"192.0.2.254") // masqueraded: the world has no route to pods
	if mtu := pods[0].Must("sh", "-c", "cat /sys/class/net/eth0/mtu || ip link show eth0"); !strings.Contains(mtu, "1450") {
		if mtu = pods[0].Must("ip", "link", "show", "eth0"); !strings.Contains(mtu, "mtu 1450") {
			t.Errorf("want an MTU of 1450: %s", mtu)
		}
	}
	flushed(t, hosts, nets, func() error {
		if _, err := pods[0].Run("sh", "-c", ping+ips[1].String()); err != nil { // forwarded: the answer, too
			return err
		}
		_, err := pods[0].Run("sh", "-c", ping+"192.0.2.254") // masqueraded
		return err
	})
	// Host b gets another address: the overlay moves, the others are told, running pods are reached again.
	hosts[1].Must("sh", "-c", "ip addr flush dev up0; ip addr add 192.0.2.12/24 dev up0; ip route replace default via 192.0.2.254")
	nets[1].SetNodeIPs([]netip.Addr{netip.MustParseAddr("192.0.2.12")})
	round()
	round()
	if v := nodes[1].Annotations[wellknown.AnnotationVTEP]; !strings.HasSuffix(v, "/192.0.2.12") {
		t.Errorf("the node publishes %s", v)
	}
	pods[0].Must("sh", "-c", ping+ips[1].String())
	pods[1].Must("sh", "-c", ping+ips[0].String())

	show := "ip route show dev skiff.vxlan; ip neigh show dev skiff.vxlan nud permanent; bridge fdb show dev skiff.vxlan | grep dst"
	before := hosts[0].Must("sh", "-c", show)
	round()
	if after := hosts[0].Must("sh", "-c", show); after != before || !strings.Contains(after, "192.0.2.12") {
		t.Errorf("another round changed the overlay:\n%s\nbefore:\n%s", after, before)
	}
	nets[0].cfg.Nodes = nodes[:1]
	hosts[0].Do(func() { nets[0].reconcile(ctx) })
	if left, _ := hosts[0].Run("sh", "-c", show); left != "" {
		t.Errorf("the other node is gone but the kernel still has\n%s", left)
	}
	for i, n := range nets {
		hosts[i].Do(func() {
			if err := n.CleanUp(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// flushed does what a firewall that reloads does, on every host, and waits until pods reach everything again.
func flushed(t *testing.T, hosts []*netnstest.NS, nets []*Network, reach func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var owners sync.WaitGroup
	for i, host := range hosts {
		owners.Go(func() { host.Do(func() { nets[i].cfg.Rules.Run(ctx) }) })
	}
	defer owners.Wait()
	defer cancel()
	for _, flush := range []string{"iptables -P FORWARD DROP", "iptables -F FORWARD; iptables -t nat -F POSTROUTING", "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; true"} {
		for _, host := range hosts {
			host.Must("sh", "-c", flush)
		}
		deadline := time.Now().Add(time.Minute)
		for err := reach(); err != nil; err = reach() {
			if time.Now().After(deadline) {
				t.Fatalf("after %s: %v", flush, err)
			}
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	if !netnstest.Enter(b) {
		return
	}
	n := network(b, "a", "")
	setup(b, n, "10.42.0.0/16")
	pods := make([]*netnstest.NS, b.N)
	for i := range pods {
		pods[i] = netnstest.New(b, fmt.Sprint("p", i))
	}
	b.ResetTimer()
	var worst time.Duration
	for i, pod := range pods {
		start := time.Now()
		attach(b, n, fmt.Sprint("pod", i), pod.Path)
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds()), "µs-worst")
}
