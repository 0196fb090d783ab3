package cluster_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"codeberg.org/skiff/skiff/agent/cluster"
	"codeberg.org/skiff/skiff/agent/dns"
	"codeberg.org/skiff/skiff/agent/podnet"
	"codeberg.org/skiff/skiff/internal/netnstest"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/netproxy"
)

// TestANodeAndItsNeighbour runs podnet, netproxy and dns together, as an agent does, on a node in the test's own
// namespace. A second node with a pod network alone lies behind a veth. Both refuse to forward by default.
func TestANodeAndItsNeighbour(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	client := fake.NewClientset()
	for i, name := range []string{"a", "b"} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
		node.Spec.PodCIDRs = []string{fmt.Sprintf("10.42.%d.0/24", i)}
		create(t, func() error { _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); return err })
	}
	neighbour := netnstest.New(t, "b")
	shell(t, "ip link add up0 type veth peer name up0 netns "+neighbour.Path+"; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0; iptables -P FORWARD DROP")
	neighbour.Must("sh", "-c", "ip link set lo up; ip link set up0 up; ip addr add 192.0.2.2/24 dev up0; iptables -P FORWARD DROP")

	cache := cluster.New(client, nil)
	publish := func(node string) func(context.Context, string) error {
		return func(ctx context.Context, value string) error {
			n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
			if err != nil {
				return err
			}
			n.Annotations[wellknown.AnnotationVTEP] = value
			_, err = client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
			return err
		}
	}
	cidr := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	network := func(node, ip string) *podnet.Network {
		n, err := podnet.New(podnet.Config{NodeName: node, NodeIPs: []netip.Addr{netip.MustParseAddr(ip)}, ClusterCIDRs: cidr("10.42.0.0/16"),
			ServiceCIDRs: cidr("10.43.0.0/16"), StateDir: t.TempDir(), Nodes: cache, PublishVTEP: publish(node)})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	here, there := network("a", "192.0.2.1"), network("b", "192.0.2.2")
	dnsAddr := netip.MustParseAddr(wellknown.DefaultClusterDNS)
	proxy, err := netproxy.New(netproxy.Config{NodeName: "a", Source: cache, ClusterCIDRs: cidr("10.42.0.0/16"), ServiceCIDRs: cidr("10.43.0.0/16"), LocalAddrs: []netip.Addr{dnsAddr}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := dns.New(dns.Config{Source: cache, Addrs: []netip.Addr{dnsAddr}, ResolvConf: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{cache.Run, here.Run, proxy.Run, names.Run} {
		all.Go(func() { run(ctx) })
	}
	all.Go(func() { neighbour.Do(func() { there.Run(ctx) }) })
	defer func() { cancel(); all.Wait() }()
	wait(t, "both pod networks", func() bool { return here.Ready() == nil && there.Ready() == nil })

	pods := map[string]*netnstest.NS{}
	ips := map[string]string{}
	for _, name := range []string{"a1", "a2", "b1"} {
		pods[name] = netnstest.New(t, name)
		attach := func() {
			addrs, err := map[byte]*podnet.Network{'a': here, 'b': there}[name[0]].Attach(ctx, name, pods[name].Path)
			if err != nil {
				t.Error(err)
				return
			}
			ips[name] = addrs[0].String()
		}
		if name[0] == 'b' {
			neighbour.Do(attach)
		} else {
			attach()
		}
		serve(t, pods[name], name)
	}
	port, protocol, empty := int32(8080), corev1.ProtocolTCP, ""
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &empty, Port: &port, Protocol: &protocol}}}
	for _, name := range []string{"a1", "a2", "b1"} {
		node := name[:1]
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ips[name]}, NodeName: &node})
	}
	for name, ip := range map[string]string{"web": "10.43.1.1", "empty": "10.43.1.2"} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		svc.Spec = corev1.ServiceSpec{Type: "NodePort", ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, Protocol: protocol, NodePort: map[string]int32{"web": 30080, "empty": 30081}[name]}}}
		create(t, func() error {
			_, err := client.CoreV1().Services("default").Create(ctx, svc, metav1.CreateOptions{})
			return err
		})
	}
	create(t, func() error {
		_, err := client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{})
		return err
	})

	wait(t, "the overlay", func() bool { return get(pods["a1"], ips["b1"]+":8080") == "b1" })
	from := map[string]*netnstest.NS{"a1": pods["a1"], "the node": nil}
	wait(t, "the Service", func() bool { return get(pods["a1"], "10.43.1.1:80") != "" })
	for who, ns := range from {
		for _, to := range []string{"10.43.1.1:80", "192.0.2.1:30080"} {
			seen := map[string]bool{}
			for range 60 {
				seen[get(ns, to)] = true
			}
			if len(seen) != 3 || seen[""] {
				t.Errorf("%s asks %s: answers %v, want all three pods", who, to, seen)
			}
		}
		for _, to := range []string{"10.43.1.2:80", "192.0.2.1:30081", "10.43.9.9:80"} {
			if start := time.Now(); get(ns, to) != "" || time.Since(start) > 4*time.Second {
				t.Errorf("%s asks %s: want refused at once, took %v", who, to, time.Since(start))
			}
		}
	}
	seen := map[string]bool{}
	for range 60 {
		seen[get(neighbour, "192.0.2.1:30080")] = true
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("the neighbour asks the node port: answers %v", seen)
	}
	out, err := pods["a1"].Run("busybox", "nslookup", "web.default.svc.cluster.local", "10.43.0.10")
	if err != nil || !strings.Contains(out, "10.43.1.1") {
		t.Errorf("nslookup in a pod: %v %s", err, out)
	}
}

func create(t *testing.T, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 200 {
		if ok() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func serve(t *testing.T, ns *netnstest.NS, name string) {
	ns.Do(func() {
		l, err := net.Listen("tcp4", ":8080")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Write([]byte(name))
				c.Close()
			}
		}()
	})
}

// get returns the answer, "" for none.
func get(ns *netnstest.NS, to string) (answer string) {
	f := func() {
		c, err := net.DialTimeout("tcp4", to, time.Second)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 16)
		k, _ := c.Read(buf)
		answer = string(buf[:k])
	}
	if ns == nil {
		f()
	} else {
		ns.Do(f)
	}
	return answer
}
