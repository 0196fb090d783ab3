package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"codeberg.org/skiff/skiff/internal/netnstest"
)

const objects = `kind: Service
metadata: {namespace: default, name: web}
spec: {clusterIP: 10.43.0.1, ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {namespace: default, name: outside}
spec: {type: ExternalName, externalName: big.example.org}
---
kind: Service
metadata: {namespace: default, name: crowd}
spec: {clusterIP: None}
---
`

// crowd is a headless Service with more endpoints than a UDP answer holds.
func crowd() string {
	var b strings.Builder
	b.WriteString(objects + "kind: EndpointSlice\nmetadata: {namespace: default, name: crowd-1, labels: {kubernetes.io/service-name: crowd}}\naddressType: IPv4\nendpoints:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "- {addresses: [10.42.1.%d]}\n", i+1)
	}
	return b.String()
}

// start runs a server on a free port of 127.0.0.1.
func start(t testing.TB, src *source, change func(*Config)) (s *Server, at string) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(l.LocalAddr().String()).Port()
	l.Close()
	s = newServer(t, src, func(c *Config) {
		c.Port = port
		if change != nil {
			change(c)
		}
	})
	run(t, s)
	at = fmt.Sprintf("127.0.0.1:%d", port)
	for range 100 {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s, at
}

func run(t testing.TB, s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func ask(t testing.TB, network, at, name string, kind uint16, change func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	if change != nil {
		change(m)
	}
	answer, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: dns.MaxMsgSize}).Exchange(m, at)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", dns.TypeToString[kind], name, network, err)
	}
	return answer
}

// upstream is a fake resolver that counts questions. Names: big.example.org has many records, slow.… never answers.
func upstream(t testing.TB, asked *atomic.Int32) netip.AddrPort {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(pc.LocalAddr().String())
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(r)
		name := r.Question[0].Name
		count := 1
		switch {
		case strings.HasPrefix(name, "slow."):
			return
		case strings.HasPrefix(name, "none."):
			m.Rcode, count = dns.RcodeNameError, 0
			soa, _ := dns.NewRR("org. 60 IN SOA a. b. 1 2 3 4 60")
			m.Ns = append(m.Ns, soa)
		case strings.HasPrefix(name, "big."):
			count = 200
		}
		for i := range count {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.2.%d", name, i%250))
			m.Answer = append(m.Answer, rr)
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			size := dns.MinMsgSize
			if opt := r.IsEdns0(); opt != nil {
				size = int(opt.UDPSize())
			}
			m.Truncate(size)
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return at
}

func TestServer(t *testing.T) {
	var asked atomic.Int32
	up := upstream(t, &asked)
	_, at := start(t, parseSource(t, crowd()), func(c *Config) { c.Upstreams = []netip.AddrPort{up} })

	for _, network := range []string{"udp", "tcp"} {
		if m := ask(t, network, at, "web.default.svc.cluster.local.", dns.TypeA, nil); len(m.Answer) != 1 || !m.Authoritative || !m.RecursionAvailable {
			t.Errorf("%s: %v", network, m)
		}
	}
	small := ask(t, "udp", at, "crowd.default.svc.cluster.local.", dns.TypeA, nil)
	edns := ask(t, "udp", at, "crowd.default.svc.cluster.local.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, false) })
	all := ask(t, "tcp", at, "crowd.default.svc.cluster.local.", dns.TypeA, nil)
	small.Compress, edns.Compress = true, true // as on the wire
	if !small.Truncated || small.Len() > 512 || !edns.Truncated || edns.Len() > udpSize || edns.IsEdns0() == nil || len(edns.Answer) <= len(small.Answer) ||
		all.Truncated || len(all.Answer) != 100 {
		t.Errorf("100 endpoints: %d (truncated %v), %d (%v), %d (%v)", len(small.Answer), small.Truncated, len(edns.Answer), edns.Truncated, len(all.Answer), all.Truncated)
	}

	if m := ask(t, "udp", at, "Example.ORG.", dns.TypeA, nil); len(m.Answer) != 1 || m.Answer[0].Header().Name != "Example.ORG." || m.Authoritative {
		t.Errorf("forwarded: %v", m)
	}
	before := asked.Load()
	ask(t, "udp", at, "example.org.", dns.TypeA, nil)
	ask(t, "udp", at, "none.example.org.", dns.TypeA, nil)
	if m := ask(t, "udp", at, "none.example.org.", dns.TypeA, nil); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || asked.Load() != before+1 {
		t.Errorf("the cache was not used: %d questions, %v", asked.Load()-before, m)
	}
	if m := ask(t, "udp", at, "big.example.org.", dns.TypeA, nil); !m.Truncated {
		t.Errorf("truncated upstream: %v", m)
	}
	if m := ask(t, "tcp", at, "outside.default.svc.cluster.local.", dns.TypeA, nil); len(m.Answer) != 201 || m.Answer[0].Header().Rrtype != dns.TypeCNAME {
		t.Errorf("ExternalName: %d records", len(m.Answer))
	}
	before = asked.Load()
	ask(t, "udp", at, "nope.svc.cluster.local.", dns.TypeA, nil)
	ask(t, "udp", at, "9.9.42.10.in-addr.arpa.", dns.TypePTR, nil)
	if asked.Load() != before {
		t.Error("names of the cluster were forwarded")
	}

	for name, change := range map[string]func(*dns.Msg){
		"NOTIMP":  func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus },
		"REFUSED": func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"BADVERS": func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) },
	} {
		if m := ask(t, "udp", at, "web.default.svc.cluster.local.", dns.TypeA, change); dns.RcodeToString[m.Rcode] != name && !(name == "BADVERS" && m.Rcode == dns.RcodeBadVers) {
			t.Errorf("want %s, got %v", name, m)
		}
	}
	conn, _ := net.Dial("udp", at)
	for _, junk := range []string{"", "x", strings.Repeat("\xff", 600), strings.Repeat("\x00\xc0", 200)} {
		conn.Write([]byte(junk))
	}
	conn.Close()
	ask(t, "udp", at, "web.default.svc.cluster.local.", dns.TypeA, nil)
}

func TestUpstreamServersTakeTurns(t *testing.T) {
	var asked atomic.Int32
	dead, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	servers := []netip.AddrPort{netip.MustParseAddrPort(dead.LocalAddr().String()), upstream(t, &asked)}
	s := newServer(t, parseSource(t, objects), func(c *Config) { c.Upstreams = servers })
	question := func(name string) (*dns.Msg, time.Duration) {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		begin := time.Now()
		return s.respond(m, false), time.Since(begin)
	}
	if m, took := question("a.example.org."); m.Rcode != dns.RcodeSuccess || took < tryFor {
		t.Errorf("the second server after the first one's timeout: %v %v", took, m)
	}
	if m, took := question("b.example.org."); m.Rcode != dns.RcodeSuccess || took > tryFor/2 {
		t.Errorf("the one that answered comes first: %v %v", took, m)
	}
	asked.Store(0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if m, took := question("slow.example.org."); m.Rcode != dns.RcodeServerFailure || took > giveUp+time.Second {
				t.Errorf("no answer: %v %v", took, m)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n > 4 {
		t.Errorf("50 clients made %d questions, want one flight", n)
	}
}

func TestBeforeTheFirstListNothingIsDenied(t *testing.T) {
	src := parseSource(t, objects)
	src.unsynced = true
	s := newServer(t, src, nil)
	m := new(dns.Msg)
	m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	if got := s.respond(m, false); got.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", got)
	}
}

// TestPodsAskTheClusterAddress: the address is on lo, a pod reaches it, nothing else uses it, and CleanUp removes it.
func TestPodsAskTheClusterAddress(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	pod := netnstest.New(t, "pod")
	host := netnstest.New(t, "host")
	host.Must("sh", "-c", "ip link set lo up; ip link add v0 type veth peer name eth0 netns "+pod.Path+"; ip link set v0 up; ip addr add 10.42.0.1/24 dev v0")
	pod.Must("sh", "-c", "ip link set eth0 up; ip addr add 10.42.0.5/24 dev eth0; ip route add default via 10.42.0.1")
	s := newServer(t, parseSource(t, objects), func(c *Config) { c.Addrs = []netip.Addr{netip.MustParseAddr("10.43.0.10")} })
	// The sockets must be made inside: serve one of each on the namespace's thread.
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.running.Store(&ctx)
	for _, network := range []string{"udp", "tcp"} {
		wg.Go(func() {
			host.Do(func() { s.serve(ctx, network, netip.MustParseAddrPort("10.43.0.10:53")) })
		})
	}
	var out string
	for range 50 {
		var err error
		if out, err = pod.Run("busybox", "nslookup", "web.default.svc.cluster.local", "10.43.0.10"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !strings.Contains(out, "10.43.0.1") {
		t.Errorf("nslookup: %s", out)
	}
	if route := host.Must("ip", "addr", "show", "dev", "lo"); !strings.Contains(route, "10.43.0.10/32 scope host") {
		t.Errorf("lo: %s", route)
	}
	cancel()
	wg.Wait()
	host.Do(func() {
		for range 2 {
			if err := s.CleanUp(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	if lo := host.Must("ip", "addr", "show", "dev", "lo"); strings.Contains(lo, "10.43") {
		t.Errorf("CleanUp left %s", lo)
	}
}

func BenchmarkRespond(b *testing.B) {
	s := newServer(b, parseSource(b, objects), nil)
	m := new(dns.Msg)
	m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	for b.Loop() {
		if _, err := s.respond(m, false).Pack(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUDP asks over real sockets, with as many clients as there are cores; they share the machine with the server.
func BenchmarkUDP(b *testing.B) {
	_, at := start(b, parseSource(b, objects), nil)
	m := new(dns.Msg)
	m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	wire, _ := m.Pack()
	b.ResetTimer()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("udp", at)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf := make([]byte, 512)
		for pb.Next() {
			conn.Write(wire)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}
