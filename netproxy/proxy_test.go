package netproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/iptables"
	"codeberg.org/skiff/skiff/internal/netnstest"
)

// source is a Source that tests write to.
type source struct {
	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName][]*discoveryv1.EndpointSlice
	changed  func(types.NamespacedName)
}

func newSource() *source {
	return &source{services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}}
}

func (s *source) Synced() <-chan struct{} { c := make(chan struct{}); close(c); return c }

func (s *source) ServiceKeys() (keys []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.services {
		keys = append(keys, key)
	}
	return keys
}

func (s *source) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[key], s.slices[key]
}

func (s *source) OnServices(changed func(types.NamespacedName)) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
	return func() {}
}

func (s *source) set(svc *corev1.Service, slices ...*discoveryv1.EndpointSlice) {
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s.mu.Lock()
	s.services[key], s.slices[key] = svc, slices
	changed := s.changed
	s.mu.Unlock()
	if changed != nil {
		changed(key)
	}
}

// node is a node in the test's own namespace: pods, a client outside, and a running proxy.
type node struct {
	t      testing.TB
	source *source
	proxy  *Proxy
	stop   func()
}

func startNode(t testing.TB) *node {
	n := &node{t: t, source: newSource()}
	n.start()
	shell(t, "sysctl -qw net.ipv4.ip_forward=1; ip link add br0 type bridge; ip link set br0 up; ip addr add 10.42.0.1/32 dev br0; ip route add 10.43.0.0/16 dev br0; ip route add default dev br0")
	return n
}

func (n *node) start() {
	cfg := config()
	cfg.Source = n.source
	cfg.ClusterCIDRs, cfg.ServiceCIDRs = cfg.ClusterCIDRs[:1], cfg.ServiceCIDRs[:1]
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg.Rules = iptables.NewOwner(cfg.Log)
	p, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(ctx) })
	wg.Go(func() { cfg.Rules.Run(ctx) })
	n.proxy, n.stop = p, func() { cancel(); wg.Wait() }
	n.flush()
}

func (n *node) flush() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := n.proxy.Flush(ctx); err != nil {
		n.t.Fatalf("flush: %v", err)
	}
}

func shell(t testing.TB, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// pod makes a namespace with an address, whose servers on TCP and UDP 8080 answer with their name and the client's address.
func (n *node) pod(name, ip string) *netnstest.NS {
	ns := n.join(name, ip, "10.42.0.1")
	n.serve(ns, name)
	return ns
}

func (n *node) join(name, ip, gateway string) *netnstest.NS {
	n.t.Helper()
	ns := netnstest.New(n.t, name)
	shell(n.t, fmt.Sprintf("ip link add v%s type veth peer name eth0 netns %s; ip link set v%s up; ip route add %s dev v%s", name, ns.Path, name, ip, name))
	ns.Must("sh", "-c", fmt.Sprintf("ip link set lo up; ip link set eth0 up; ip addr add %s/32 dev eth0; ip route add default via %s dev eth0 onlink", ip, gateway))
	return ns
}

func (n *node) serve(ns *netnstest.NS, name string) {
	ns.Do(func() {
		l, err := net.Listen("tcp4", ":8080")
		if err != nil {
			n.t.Error(err)
			return
		}
		u, err := net.ListenPacket("udp4", ":8080")
		if err != nil {
			n.t.Error(err)
			return
		}
		if _, bench := n.t.(*testing.B); !bench {
			n.t.Cleanup(func() { l.Close(); u.Close() })
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				fmt.Fprint(c, name, " ", host)
				c.Close()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(from.String())
				u.WriteTo([]byte(name+" "+host), from)
			}
		}()
	})
}

// ask connects from a namespace (nil: the node) and returns the answer.
func ask(ns *netnstest.NS, network, to string) (answer string, err error) {
	f := func() {
		var c net.Conn
		if c, err = net.DialTimeout(network, to, time.Second); err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		if network == "udp4" {
			c.Write([]byte("?"))
			buf := make([]byte, 100)
			var k int
			k, err = c.Read(buf)
			answer = string(buf[:k])
			return
		}
		var text []byte
		text, err = io.ReadAll(c)
		answer = string(text)
	}
	if ns == nil {
		f()
	} else {
		ns.Do(f)
	}
	return answer, err
}

// expect asks until all the given answers came, and nothing else.
func (n *node) expect(ns *netnstest.NS, network, to string, answers ...string) {
	n.t.Helper()
	seen := map[string]bool{}
	for range 60 {
		got, err := ask(ns, network, to)
		if err != nil {
			n.t.Errorf("%s %s: %v, want %v", network, to, err, answers)
			return
		}
		if seen[got] = true; len(seen) >= len(answers) && len(answers) > 1 {
			break
		}
	}
	for _, want := range answers {
		if !seen[want] {
			n.t.Errorf("%s %s: answers %v, want %v", network, to, seen, answers)
			return
		}
	}
	if len(seen) != len(answers) {
		n.t.Errorf("%s %s: answers %v, want %v", network, to, seen, answers)
	}
}

// refused wants an error at once.
func (n *node) refused(ns *netnstest.NS, network, to string) {
	n.t.Helper()
	start := time.Now()
	got, err := ask(ns, network, to)
	if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) > 4*time.Second {
		n.t.Errorf("%s %s: %q, %v after %v; want refused at once", network, to, got, err, time.Since(start))
	}
}

func (n *node) dropped(ns *netnstest.NS, network, to string) {
	n.t.Helper()
	got, err := ask(ns, network, to)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		n.t.Errorf("%s %s: %q, %v; want silence", network, to, got, err)
	}
}

func service(name, ip string, change func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.Spec = corev1.ServiceSpec{Type: "ClusterIP", ClusterIP: ip, Ports: []corev1.ServicePort{
		{Name: "tcp", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "udp", Port: 80, Protocol: corev1.ProtocolUDP}}}
	if change != nil {
		change(svc)
	}
	return svc
}

// slice has endpoints "ip" (here) or "ip@node".
func slice(endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		name, port, protocol := strings.ToLower(string(p)), int32(8080), p
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &protocol})
	}
	for _, e := range endpoints {
		ip, node, ok := strings.Cut(e, "@")
		if !ok {
			node = "here"
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node})
	}
	return s
}

func TestServices(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	n := startNode(t)
	defer func() { n.stop() }()
	a, b := n.pod("a", "10.42.0.5"), n.pod("b", "10.42.0.6")
	client := n.join("client", "192.0.2.100", "192.0.2.1")
	shell(t, "sysctl -qw net.ipv4.icmp_ratelimit=0; ip addr add 192.0.2.1/32 dev br0")
	nodePort := func(port int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type = "NodePort"
			s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = port, port
		}
	}

	n.source.set(service("web", "10.43.1.1", nodePort(30080)), slice("10.42.0.5", "10.42.0.6"))
	n.source.set(service("self", "10.43.1.2", nil), slice("10.42.0.5"))
	n.source.set(service("empty", "10.43.1.3", nodePort(30083)))
	n.flush()
	for _, network := range []string{"tcp4", "udp4"} {
		n.expect(nil, network, "10.43.1.1:80", "a 10.42.0.1", "b 10.42.0.1")
		n.expect(b, network, "10.43.1.2:80", "a 10.42.0.6")
		n.expect(a, network, "10.43.1.2:80", "a 10.42.0.1") // hairpin
		n.expect(nil, network, "127.0.0.1:30080", "a 10.42.0.1", "b 10.42.0.1")
		n.expect(a, network, "10.42.0.1:30080", "a 10.42.0.1", "b 10.42.0.1")
		n.expect(client, network, "192.0.2.1:30080", "a 10.42.0.1", "b 10.42.0.1")
		for _, from := range []*netnstest.NS{nil, a} {
			n.refused(from, network, "10.43.1.3:80")  // no endpoints
			n.refused(from, network, "10.43.1.1:81")  // no such port
			n.refused(from, network, "10.43.99.1:80") // no such Service
		}
		n.refused(client, network, "192.0.2.1:30083")
	}

	// The same UDP socket must move on when its endpoint goes.
	var socket net.Conn
	b.Do(func() { socket, _ = net.Dial("udp4", "10.43.1.2:80") })
	talk := func() string {
		socket.SetDeadline(time.Now().Add(time.Second))
		socket.Write([]byte("?"))
		buf := make([]byte, 100)
		k, _ := socket.Read(buf)
		return string(buf[:k])
	}
	if got := talk(); got != "a 10.42.0.6" {
		t.Errorf("udp before: %q", got)
	}
	n.source.set(service("self", "10.43.1.2", nil), slice("10.42.0.6"))
	n.flush()
	if got := talk(); got != "b 10.42.0.1" {
		t.Errorf("udp after its endpoint went: %q", got)
	}
	socket.Close()

	n.source.set(service("sticky", "10.43.1.4", func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" }), slice("10.42.0.5", "10.42.0.6"))
	n.flush()
	first, err := ask(nil, "tcp4", "10.43.1.4:80")
	if err != nil {
		t.Fatal(err)
	}
	n.expect(nil, "tcp4", "10.43.1.4:80", first)

	n.source.set(service("local", "10.43.1.5", func(s *corev1.Service) {
		nodePort(30085)(s)
		s.Spec.ExternalTrafficPolicy = "Local"
	}), slice("10.42.0.5", "10.42.7.7@there"))
	n.source.set(service("balanced", "10.43.1.6", func(s *corev1.Service) {
		s.Spec.Type = "LoadBalancer"
		s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.100/32"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}}
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "Local", 32000
	}), slice("10.42.0.6"))
	n.source.set(service("theirs", "10.43.1.7", func(s *corev1.Service) {
		nodePort(30087)(s)
		s.Spec.ExternalTrafficPolicy, s.Spec.ExternalIPs = "Local", []string{"198.51.100.8"}
	}), slice("10.42.7.7@there"))
	n.proxy.SetHostPorts("pod-b", []HostPort{{HostPort: 8081, Protocol: "TCP", Target: netip.MustParseAddrPort("10.42.0.6:8080")}})
	n.flush()
	n.expect(client, "tcp4", "192.0.2.1:30085", "a 192.0.2.100") // the client's address stays
	n.expect(client, "tcp4", "198.51.100.7:80", "b 192.0.2.100")
	n.dropped(a, "tcp4", "198.51.100.7:80") // not in the source ranges
	n.dropped(client, "tcp4", "192.0.2.1:30087")
	n.dropped(client, "tcp4", "198.51.100.8:80")
	n.expect(client, "tcp4", "192.0.2.1:8081", "b 192.0.2.100")
	n.expect(nil, "tcp4", "127.0.0.1:8081", "b 10.42.0.1")
	n.expect(b, "tcp4", "10.42.0.1:8081", "b 10.42.0.1")
	if got, _ := client.Run("busybox", "wget", "-qO-", "http://192.0.2.1:32000/"); !strings.Contains(got, `"localEndpoints":1`) {
		t.Errorf("health check: %s", got)
	}

	// A daemon that comes back finds its own rules, and those of a Service that is gone.
	n.stop()
	n.expect(client, "tcp4", "192.0.2.1:8081", "b 192.0.2.100")
	delete(n.source.services, types.NamespacedName{Namespace: "default", Name: "sticky"})
	n.start()
	n.refused(nil, "tcp4", "10.43.1.4:80")
	n.expect(nil, "tcp4", "10.43.1.1:80", "a 10.42.0.1", "b 10.42.0.1")
	n.refused(client, "tcp4", "192.0.2.1:8081")
	if c := strings.Count(shell(t, "iptables-save"), "-A PREROUTING -j"); c != 1 {
		t.Errorf("%d jumps from PREROUTING, want 1", c)
	}

	// Somebody flushes the table, or a chain of ours.
	for _, flush := range []string{"iptables -t nat -F", "iptables -t nat -F SKIFF-SVC-ENTRY"} {
		shell(t, flush)
		deadline := time.Now().Add(time.Minute)
		for got, err := ask(nil, "tcp4", "10.43.1.1:80"); err != nil; got, err = ask(nil, "tcp4", "10.43.1.1:80") {
			if time.Now().After(deadline) {
				t.Fatalf("after %s: %q, %v", flush, got, err)
			}
		}
	}
	n.expect(nil, "tcp4", "10.43.1.1:80", "a 10.42.0.1", "b 10.42.0.1")

	n.stop()
	if err := n.proxy.CleanUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := shell(t, "iptables-save"); strings.Contains(left, "SKIFF") {
		t.Errorf("CleanUp left\n%s", left)
	}
	n.start()
}

// TestLegacyBackend: the writer takes what is there when the default backend does not work.
func TestLegacyBackend(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	if _, err := exec.LookPath("iptables-legacy"); err != nil {
		t.Skip("no iptables-legacy here")
	}
	n := startNode(t)
	defer n.stop()
	n.pod("a", "10.42.0.5")
	n.stop()
	if err := n.proxy.CleanUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	cfg := n.proxy.cfg
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.families[0].writer = iptables.NewWriter(iptables.Host{Run: func(ctx context.Context, input, name string, args ...string) ([]byte, error) {
		if !strings.HasPrefix(name, "iptables-legacy") {
			return nil, errors.New("not here")
		}
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin = strings.NewReader(input)
		return cmd.Output()
	}}, chainPrefix)
	n.source.set(service("web", "10.43.1.1", nil), slice("10.42.0.5"))
	for _, key := range n.source.ServiceKeys() {
		p.changed(key)
	}
	if err := p.sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.expect(nil, "tcp4", "10.43.1.1:80", "a 10.42.0.1")
	if err := p.CleanUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// thousand fills the node with Services and waits for the first write.
func thousand(n *node) {
	_, services, slices := many(1000, 5)
	for name, svc := range services {
		n.source.set(svc, slices[name]...)
	}
	n.flush()
}

// cpu is what this process and its children have spent.
func cpu() (self, children time.Duration) {
	of := func(who int) time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(who, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return of(syscall.RUSAGE_SELF), of(syscall.RUSAGE_CHILDREN)
}

// BenchmarkThousandServices: from nothing to rules in the kernel.
func BenchmarkThousandServices(b *testing.B) {
	if !netnstest.Enter(b) {
		return
	}
	for range b.N {
		n := startNode(b)
		self, children := cpu()
		thousand(n)
		self2, children2 := cpu()
		b.ReportMetric(float64((self2 - self).Milliseconds()), "cpu-ms")
		b.ReportMetric(float64((children2 - children).Milliseconds()), "iptables-cpu-ms")
		n.stop()
		n.proxy.CleanUp(context.Background())
		shell(b, "ip link del br0")
	}
}

var benchNode *node

// BenchmarkOneEndpoint: an endpoint of one of 1,000 Services changes, until a connection gets its answer.
func BenchmarkOneEndpoint(b *testing.B) {
	if !netnstest.Enter(b) {
		return
	}
	if benchNode == nil { // the benchmark is called again with a larger b.N
		benchNode = startNode(b)
		benchNode.pod("a", "10.42.0.250")
		thousand(benchNode)
	}
	n := benchNode
	svc := service("changing", "10.43.250.250", func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] })
	n.source.set(svc, slice("10.42.9.9"))
	n.flush()
	b.ResetTimer()
	var own, commands, slowest time.Duration
	for i := range b.N {
		b.StopTimer()
		n.source.set(svc, slice(fmt.Sprintf("10.42.9.%d@there", i%200)))
		n.flush()
		b.StartTimer()
		start := time.Now()
		self, children := cpu()
		n.source.set(svc, slice("10.42.0.250"))
		n.flush()
		self2, children2 := cpu()
		own, commands = own+self2-self, commands+children2-children
		if got, err := ask(nil, "tcp4", "10.43.250.250:80"); err != nil {
			b.Fatal(got, err)
		}
		slowest = max(slowest, time.Since(start))
	}
	b.ReportMetric(float64(own.Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(commands.Microseconds())/float64(b.N), "iptables-cpu-µs/op")
	b.ReportMetric(float64(slowest.Milliseconds()), "ms-slowest")
}
