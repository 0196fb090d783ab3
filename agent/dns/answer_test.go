package dns

import (
	"flag"
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// source is a fixed Source.
type source struct {
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName][]*discoveryv1.EndpointSlice
	unsynced bool
}

func (s *source) Synced() <-chan struct{} {
	c := make(chan struct{})
	if !s.unsynced {
		close(c)
	}
	return c
}

func (s *source) ServiceKeys() (keys []types.NamespacedName) {
	for key := range s.services {
		keys = append(keys, key)
	}
	return keys
}

func (s *source) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	return s.services[key], s.slices[key]
}

func (s *source) OnServices(func(types.NamespacedName)) func() { return func() {} }

func (s *source) HasNamespace(name string) bool { return name == "default" || name == "quiet" }

func parseSource(t testing.TB, text string) *source {
	s := &source{services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}}
	for _, doc := range strings.Split(text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		if kind.Kind == "Service" {
			svc := &corev1.Service{}
			if err := yaml.UnmarshalStrict([]byte(doc), svc); err != nil {
				t.Fatal(err)
			}
			s.services[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] = svc
			continue
		}
		slice := &discoveryv1.EndpointSlice{}
		if err := yaml.UnmarshalStrict([]byte(doc), slice); err != nil {
			t.Fatal(err)
		}
		key := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
		s.slices[key] = append(s.slices[key], slice)
	}
	return s
}

func newServer(t testing.TB, src *source, change func(*Config)) *Server {
	cfg := Config{Source: src, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ResolvConf: "/nonexistent",
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.43.0.0/16")}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !src.unsynced {
		s.fill(t.Context())
	}
	return s
}

// TestScenarios: Services and slices, and for each line "TYPE name" of queries what the server says.
func TestScenarios(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) == 0 {
		t.Fatal("no scenarios")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := newServer(t, parseSource(t, string(ar.Files[0].Data)), nil)
			var b strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(string(ar.Files[1].Data)), "\n") {
				kind, name, _ := strings.Cut(line, " ")
				q := new(dns.Msg)
				q.SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
				fmt.Fprintf(&b, "%s\n%s", line, show(s.respond(q, false)))
			}
			if *update {
				ar.Files[2].Data = []byte(b.String())
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got, want := b.String(), string(ar.Files[2].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func show(m *dns.Msg) string {
	var lines []string
	for _, rr := range m.Answer {
		lines = append(lines, "\t"+strings.ReplaceAll(rr.String(), "\t", " "))
	}
	slices.Sort(lines)
	for _, rr := range m.Ns {
		lines = append(lines, "\tauthority "+dns.TypeToString[rr.Header().Rrtype])
	}
	for _, rr := range m.Extra {
		lines = append(lines, "\textra "+strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return fmt.Sprintf("\t%s\n%s\n", dns.RcodeToString[m.Rcode], strings.Join(lines, "\n"))
}

// TestZoneIsWhatIsPutLast: after any sequence of changes the zone is the one made from scratch.
func TestZoneIsWhatIsPutLast(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	z, state := newZone(), map[types.NamespacedName]*records{}
	for range 2000 {
		key := types.NamespacedName{Namespace: fmt.Sprint("ns", rnd.Intn(3)), Name: fmt.Sprint("svc", rnd.Intn(5))}
		var r *records
		if rnd.Intn(3) > 0 {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
			svc.Spec.ClusterIP = fmt.Sprintf("10.43.0.%d", rnd.Intn(8))
			r = recordsOf(svc, nil)
		}
		z.put(key, r)
		if state[key] = r; r == nil {
			delete(state, key)
		}
	}
	fresh := newZone()
	for key, r := range state {
		fresh.put(key, r)
	}
	for ip := range z.pointers {
		if !reflect.DeepEqual(z.names(ip), fresh.names(ip)) {
			t.Errorf("%s: %v, want %v", ip, z.names(ip), fresh.names(ip))
		}
	}
	if len(z.pointers) != len(fresh.pointers) || !reflect.DeepEqual(z.services, fresh.services) || !reflect.DeepEqual(z.inNamespace, fresh.inNamespace) {
		t.Error("the zone is not the one made from scratch")
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCache(func() time.Time { return now })
	msg := func(ttl uint32) *dns.Msg {
		rr, _ := dns.NewRR(fmt.Sprintf("example.org. %d IN A 192.0.2.1", ttl))
		return &dns.Msg{Answer: []dns.RR{rr}}
	}
	key := question{name: "example.org."}
	c.put(key, msg(60))
	now = now.Add(20 * time.Second)
	if got := c.get(key); got == nil || got.Answer[0].Header().Ttl != 40 {
		t.Errorf("after 20 s: %v", got)
	}
	now = now.Add(40 * time.Second)
	if got := c.get(key); got != nil || c.bytes != 0 {
		t.Errorf("after its TTL: %v, %d bytes", got, c.bytes)
	}
	for i := range 3 * cacheEntries {
		c.put(question{name: fmt.Sprint(i)}, msg(60))
	}
	if len(c.entries) > cacheEntries || c.bytes > cacheBytes {
		t.Errorf("%d entries, %d bytes", len(c.entries), c.bytes)
	}
	for name, m := range map[string]*dns.Msg{"truncated": {MsgHdr: dns.MsgHdr{Truncated: true}, Answer: msg(60).Answer},
		"failed": {MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, "zero": msg(0), "no SOA": {}} {
		if c.put(question{name: name}, m); c.get(question{name: name}) != nil {
			t.Errorf("%s must not be kept", name)
		}
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Unix(1000, 0)
	u := &upstreams{path: path, own: map[netip.Addr]bool{netip.MustParseAddr("10.43.0.10"): true}, now: func() time.Time { return now }}
	if got := u.list(); len(got) != 0 {
		t.Errorf("without a file: %v", got)
	}
	os.WriteFile(path, []byte("# x\nsearch a\nnameserver 10.43.0.10\nnameserver 192.0.2.1 # a\nnameserver\nnameserver bogus\nnameserver 2001:db8::1\n"), 0o644)
	now = now.Add(lookAgain)
	if got := fmt.Sprint(u.list()); got != "[192.0.2.1:53 [2001:db8::1]:53]" {
		t.Errorf("got %s", got)
	}
}

// FuzzRespond: no packet crashes the server, and what it answers can be sent.
func FuzzRespond(f *testing.F) {
	src := parseSource(f, "kind: Service\nmetadata: {namespace: default, name: web}\nspec: {clusterIP: 10.43.0.1, ports: [{name: http, port: 80}]}")
	s := newServer(f, src, nil)
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.web.default.svc.cluster.local.", "1.0.43.10.in-addr.arpa.", "example.org.",
		"10-42-0-1.default.pod.cluster.local.", strings.Repeat("0.", 32) + "ip6.arpa."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			q := new(dns.Msg)
			q.SetQuestion(name, kind)
			q.SetEdns0(100, true)
			wire, _ := q.Pack()
			f.Add(wire)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		q := new(dns.Msg)
		if q.Unpack(wire) != nil {
			return
		}
		m := s.respond(q, false)
		if m == nil {
			return
		}
		m.Truncate(dns.MinMsgSize)
		if out, err := m.Pack(); err != nil || len(out) > 4*dns.MinMsgSize {
			t.Fatalf("%v: %v, %d bytes", q, err, len(out))
		}
	})
}
