package netproxy

import (
	"flag"
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/internal/iptables"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

func config() Config {
	return Config{
		NodeName:     "here",
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")},
		LocalAddrs:   []netip.Addr{netip.MustParseAddr("10.43.0.10")},
	}
}

func rulesetFor(family iptables.Family) *ruleset {
	return newRuleset(newRenderer(config(), family), ofFamily(config().ServiceCIDRs, family))
}

// scratch renders everything at once.
func scratch(family iptables.Family, services map[string]*corev1.Service, slices map[string][]*discoveryv1.EndpointSlice) iptables.Set {
	r := rulesetFor(family)
	for name, svc := range services {
		r.put(name, r.render.render(portsOf(svc, slices[name], place{node: "here"}, family)))
	}
	return r.rules()
}

// TestScenarios: each file has Services and EndpointSlices in YAML documents, and the rules they become. A file
// "options" with the word fixed also shows the chains that are always there, v6 the rules of IPv6.
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
			parts := map[string]string{}
			for _, f := range ar.Files {
				parts[f.Name] = string(f.Data)
			}
			services, slices := parseObjects(t, parts["objects"])
			family := iptables.IPv4
			if strings.Contains(parts["options"], "v6") {
				family = iptables.IPv6
			}
			set := scratch(family, services, slices)
			if !strings.Contains(parts["options"], "fixed") {
				set = withoutFixed(set)
			}
			got := set.Text()
			for i := range ar.Files {
				if ar.Files[i].Name != "rules" {
					continue
				}
				if *update {
					ar.Files[i].Data = []byte(got)
				} else if got != string(ar.Files[i].Data) {
					t.Errorf("got\n%s\nwant\n%s", got, ar.Files[i].Data)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func withoutFixed(set iptables.Set) iptables.Set {
	out := iptables.Set{Chains: map[iptables.Chain][]string{}}
	for c, rules := range set.Chains {
		if c.Table == iptables.NAT && c.Name != chainPost {
			out.Chains[c] = rules
		}
	}
	return out
}

func parseObjects(t *testing.T, text string) (map[string]*corev1.Service, map[string][]*discoveryv1.EndpointSlice) {
	services, slices := map[string]*corev1.Service{}, map[string][]*discoveryv1.EndpointSlice{}
	for _, doc := range strings.Split(text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Service":
			svc := &corev1.Service{}
			if err := yaml.UnmarshalStrict([]byte(doc), svc); err != nil {
				t.Fatal(err)
			}
			svc.Namespace = "default"
			services[svc.Name] = svc
		case "EndpointSlice":
			slice := &discoveryv1.EndpointSlice{}
			if err := yaml.UnmarshalStrict([]byte(doc), slice); err != nil {
				t.Fatal(err)
			}
			owner := slice.Labels[discoveryv1.LabelServiceName]
			slices[owner] = append(slices[owner], slice)
		default:
			t.Fatalf("what is a %q?", kind.Kind)
		}
	}
	return services, slices
}

// random makes Services of every shape.
type random struct{ *rand.Rand }

func (r random) service(i int) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("svc", i)}}
	svc.Spec.ClusterIP = fmt.Sprintf("10.43.%d.%d", r.Intn(4), r.Intn(256))
	svc.Spec.Type = []corev1.ServiceType{"ClusterIP", "NodePort", "LoadBalancer"}[r.Intn(3)]
	for n := range 1 + r.Intn(2) {
		port := corev1.ServicePort{Name: fmt.Sprint("p", n), Port: int32(80 + n), Protocol: []corev1.Protocol{"TCP", "UDP"}[r.Intn(2)]}
		if svc.Spec.Type != "ClusterIP" {
			port.NodePort = int32(30000 + r.Intn(200))
		}
		svc.Spec.Ports = append(svc.Spec.Ports, port)
	}
	if r.Intn(4) == 0 {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if r.Intn(4) == 0 {
		local := corev1.ServiceInternalTrafficPolicyLocal
		svc.Spec.InternalTrafficPolicy = &local
	}
	if r.Intn(3) == 0 {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if svc.Spec.Type == "LoadBalancer" {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}}
		svc.Spec.LoadBalancerSourceRanges = [][]string{nil, {"192.0.2.0/24"}}[r.Intn(2)]
	}
	return svc
}

func (r random) slices(svc *corev1.Service) []*discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for i := range svc.Spec.Ports {
		p := svc.Spec.Ports[i]
		number := int32(8080 + i)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number, Protocol: &p.Protocol})
	}
	for range r.Intn(6) {
		node := []string{"here", "there"}[r.Intn(2)]
		ready := r.Intn(4) > 0
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", r.Intn(3), 2+r.Intn(200))},
			NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return []*discoveryv1.EndpointSlice{slice}
}

// TestAnySequenceEndsAtTheSameRules is the law: rules after any sequence of changes are those rendered from scratch.
func TestAnySequenceEndsAtTheSameRules(t *testing.T) {
	for seed := range int64(15) {
		r := random{rand.New(rand.NewSource(seed))}
		services, slices := map[string]*corev1.Service{}, map[string][]*discoveryv1.EndpointSlice{}
		rules := rulesetFor(iptables.IPv4)
		for step := range 150 {
			svc := r.service(r.Intn(60))
			if have := services[svc.Name]; have != nil && r.Intn(2) == 0 {
				svc = have // only its endpoints change
			}
			if r.Intn(4) == 0 {
				delete(services, svc.Name)
				delete(slices, svc.Name)
			} else {
				services[svc.Name], slices[svc.Name] = svc, r.slices(svc)
			}
			rules.put(svc.Name, rules.render.render(portsOf(services[svc.Name], slices[svc.Name], place{node: "here"}, iptables.IPv4)))
			if step%10 > 0 {
				continue
			}
			if got, want := rules.rules().Text(), scratch(iptables.IPv4, services, slices).Text(); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
		}
		for c := range rules.rules().Chains {
			if len(c.Name) > iptables.MaxChainName {
				t.Errorf("chain %s is too long", c.Name)
			}
		}
	}
}

// TestOneEndpointTouchesOneChain and the depth of the dispatch.
func TestOneEndpointTouchesOneChain(t *testing.T) {
	rules, services, slices := many(1000, 5)
	before := copySet(rules.rules())
	slices["svc500"][0].Endpoints[1].Addresses[0] = "10.42.200.200"
	rules.put("svc500", rules.render.render(portsOf(services["svc500"], slices["svc500"], place{node: "here"}, iptables.IPv4)))
	changed := 0
	for c, now := range rules.rules().Chains {
		if strings.Join(now, "\n") != strings.Join(before.Chains[c], "\n") {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d chains changed, want 1", changed)
	}
	longest, depth := 0, 0
	var walk func(chain string, steps, level int)
	walk = func(chain string, steps, level int) {
		longest, depth = max(longest, steps), max(depth, level)
		for i, rule := range rules.rules().Chains[iptables.Chain{Table: iptables.NAT, Name: chain}] {
			if _, to, ok := strings.Cut(rule, "-j "+chainPrefix); ok && strings.HasPrefix(to, "IP-") {
				walk(chainPrefix+to, steps+i+1, level+1)
			} else {
				longest = max(longest, steps+i+1)
			}
		}
	}
	walk(chainEntry, 0, 1)
	t.Logf("1000 Services: at most %d rules in %d chains on the way to one", longest, depth)
	if longest > 60 {
		t.Errorf("%d rules are too many", longest)
	}
}

func copySet(s iptables.Set) iptables.Set {
	out := iptables.Set{Chains: map[iptables.Chain][]string{}, Jumps: s.Jumps}
	for c, rules := range s.Chains {
		out.Chains[c] = rules
	}
	return out
}

// many makes n Services with some endpoints each.
func many(n, endpoints int) (*ruleset, map[string]*corev1.Service, map[string][]*discoveryv1.EndpointSlice) {
	services, slices := map[string]*corev1.Service{}, map[string][]*discoveryv1.EndpointSlice{}
	rules := rulesetFor(iptables.IPv4)
	rnd := rand.New(rand.NewSource(1))
	port, name, protocol, here := int32(8080), "", corev1.ProtocolTCP, "here"
	for i := range n {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("svc", i)}}
		svc.Spec.ClusterIP = fmt.Sprintf("10.43.%d.%d", rnd.Intn(256), rnd.Intn(256))
		svc.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: protocol}}
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}}}
		for e := range endpoints {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", e, 2+i%250)}})
		}
		slice.Endpoints[0].NodeName = &here
		services[svc.Name], slices[svc.Name] = svc, []*discoveryv1.EndpointSlice{slice}
		rules.put(svc.Name, rules.render.render(portsOf(svc, slices[svc.Name], place{node: "here"}, iptables.IPv4)))
	}
	return rules, services, slices
}

func TestHostPorts(t *testing.T) {
	r := rulesetFor(iptables.IPv4)
	r.put("pod/a", r.render.renderHostPorts([]HostPort{
		{HostPort: 8080, Protocol: "TCP", Target: netip.MustParseAddrPort("10.42.0.5:80")},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, Protocol: "UDP", Target: netip.MustParseAddrPort("10.42.0.5:5353")},
		{HostPort: 0, Protocol: "TCP", Target: netip.MustParseAddrPort("10.42.0.5:80")},
		{HostPort: 1, Protocol: "bogus; -j ACCEPT", Target: netip.MustParseAddrPort("10.42.0.5:80")},
	}))
	got := withoutFixed(r.rules()).Text()
	for _, want := range []string{
		"-A SKIFF-SVC-PORTS-tcp -p tcp -m tcp --dport 8080 -j SKIFF-SVC-H-",
		"-A SKIFF-SVC-PORTS-udp -d 192.0.2.1/32 -p udp -m udp --dport 53 -j SKIFF-SVC-H-",
		"-s 127.0.0.0/8 -j MARK --set-xmark 0x4000/0xc000",
		"-p tcp -j DNAT --to-destination 10.42.0.5:80\n",
		"-A SKIFF-SVC-SELF -s 10.42.0.5/32 -d 10.42.0.5/32 -j MASQUERADE",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "bogus") || strings.Count(got, "DNAT") != 2 {
		t.Errorf("nonsense was not left out:\n%s", got)
	}
	r.put("pod/a", r.render.renderHostPorts(nil))
	if got, want := r.rules().Text(), rulesetFor(iptables.IPv4).rules().Text(); got != want {
		t.Errorf("a pod that is gone left\n%s", got)
	}
}

// FuzzRender: whatever an object says, no rule may break out of its line.
func FuzzRender(f *testing.F) {
	f.Add("web", "10.43.0.1", "1.2.3.4/24", "http", "10.42.0.1", int32(80))
	f.Add("a\n-A FORWARD", "::ffff:1.2.3.4%eth0", "\" -j", "x y", "fe80::1%a b", int32(-1))
	f.Fuzz(func(t *testing.T, name, ip, source, portName, endpoint string, port int32) {
		protocol := corev1.ProtocolTCP
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		svc.Spec = corev1.ServiceSpec{Type: "LoadBalancer", ClusterIP: ip, ExternalIPs: []string{ip}, LoadBalancerSourceRanges: []string{source},
			SessionAffinity: "ClientIP", Ports: []corev1.ServicePort{{Name: portName, Port: port, NodePort: port, Protocol: protocol}}}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		slice := &discoveryv1.EndpointSlice{AddressType: "IPv4", Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &protocol}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{endpoint}}}}
		set := scratch(iptables.IPv4, map[string]*corev1.Service{"s": svc}, map[string][]*discoveryv1.EndpointSlice{"s": {slice}})
		for c, rules := range set.Chains {
			for _, rule := range append(rules, c.Name) {
				if strings.ContainsAny(rule, "\n\r\"'\\%") {
					t.Errorf("%s: %q", c.Name, rule)
				}
			}
		}
	})
}

func TestStaleUDP(t *testing.T) {
	ep := netip.MustParseAddrPort("10.42.0.5:53")
	with := part{udp: map[netip.AddrPort]bool{ep: true}, udpFronts: []netip.AddrPort{netip.MustParseAddrPort("10.43.0.9:53")}}
	var s staleUDP
	s.changed(part{}, with)
	if len(s.gone) != 0 || len(s.fronts) != 1 {
		t.Errorf("first endpoint: %+v", s)
	}
	s = staleUDP{}
	s.changed(with, with)
	if !s.empty() {
		t.Errorf("no change: %+v", s)
	}
	s.changed(with, part{})
	if !s.gone[ep] {
		t.Errorf("last endpoint: %+v", s)
	}
}
