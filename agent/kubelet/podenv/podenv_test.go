package podenv

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestExpand(t *testing.T) {
	lookup := func(n string) (string, bool) { v, ok := map[string]string{"A": "1", "E": ""}[n]; return v, ok }
	for in, want := range map[string]string{"$(A)": "1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(B)": "$(B)", "x$(E)y": "xy", "$": "$", "$$": "$", "$(A": "$(A",
		"a$b": "a$b", "$(A)$(A)": "11", "$()": "$()", "$(A)$": "1$"} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$")
	f.Fuzz(func(t *testing.T, s string) {
		got := Expand(s, func(string) (string, bool) { return "", false })
		if !strings.Contains(s, "$$") && got != s {
			t.Errorf("%q became %q, though nothing is known", s, got)
		}
	})
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 1.1.1.1\nsearch a b\noptions x:1\n"))
	f.Fuzz(func(t *testing.T, b []byte) { _ = ParseResolvConf(b).String() })
}

func TestPodDNS(t *testing.T) {
	host := ParseResolvConf([]byte("# x\nsearch example.com .\nnameserver 9.9.9.9\noptions timeout:1\n"))
	pod := &corev1.Pod{}
	pod.Namespace = "ns"
	two := "2"
	check := func(what, want string) {
		t.Helper()
		if got := PodDNS(pod, host, []string{"10.43.0.10"}, "cluster.local").String(); got != want {
			t.Errorf("%s: got\n%swant\n%s", what, got, want)
		}
	}
	pod.Spec.DNSPolicy = corev1.DNSClusterFirst
	check("ClusterFirst", "search ns.svc.cluster.local svc.cluster.local cluster.local example.com .\nnameserver 10.43.0.10\noptions ndots:5\n")
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"more"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
	check("with dnsConfig", "search ns.svc.cluster.local svc.cluster.local cluster.local example.com . more\nnameserver 10.43.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n")
	pod.Spec.DNSPolicy = corev1.DNSNone
	check("None", "search more\nnameserver 1.1.1.1\noptions ndots:2 edns0\n")
	pod.Spec.DNSConfig, pod.Spec.DNSPolicy, pod.Spec.HostNetwork = nil, corev1.DNSClusterFirst, true
	check("host network", "search example.com .\nnameserver 9.9.9.9\noptions timeout:1\n")
}

func TestHostnameAndHosts(t *testing.T) {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = "ns", strings.Repeat("a", 62)+"-b"
	if n, _, _ := Hostname(pod, "cluster.local"); n != strings.Repeat("a", 62) {
		t.Errorf("hostname %q", n)
	}
	yes := true
	pod.Spec.Hostname, pod.Spec.Subdomain, pod.Spec.SetHostnameAsFQDN = "h", "sub", &yes
	n, d, uts := Hostname(pod, "cluster.local")
	if n != "h" || d != "sub.ns.svc.cluster.local" || uts != "h.sub.ns.svc.cluster.local" {
		t.Error(n, d, uts)
	}
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"x", "y"}}}
	got := string(Hosts(pod, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, n, d, nil))
	for _, want := range []string{"# Kubernetes-managed hosts file.\n", "10.0.0.1\th.sub.ns.svc.cluster.local\th\n", "# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("hosts lacks %q:\n%s", want, got)
		}
	}
}

func TestServiceEnv(t *testing.T) {
	s := &corev1.Service{}
	s.Name = "my-svc"
	s.Spec.ClusterIP = "10.43.0.7"
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}
	e := &env{values: map[string]string{}}
	serviceEnv(e, s)
	for k, want := range map[string]string{"MY_SVC_SERVICE_HOST": "10.43.0.7", "MY_SVC_SERVICE_PORT": "80", "MY_SVC_SERVICE_PORT_DNS": "53", "MY_SVC_PORT": "tcp://10.43.0.7:80",
		"MY_SVC_PORT_53_UDP": "udp://10.43.0.7:53", "MY_SVC_PORT_80_TCP_ADDR": "10.43.0.7", "MY_SVC_PORT_80_TCP_PROTO": "tcp"} {
		if e.values[k] != want {
			t.Errorf("%s = %q, want %q", k, e.values[k], want)
		}
	}
}

// TestLimitsOfThePod: a container without a limit of its own is told the pod's, and only then the node's.
func TestLimitsOfThePod(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
		Containers: []corev1.Container{{Name: "none"}, {Name: "own", Resources: corev1.ResourceRequirements{Limits: list("2", "32Mi")}}}}}
	for _, c := range []struct{ container, field, want string }{
		{"none", "limits.memory", "67108864"}, {"none", "limits.cpu", "8"}, {"own", "limits.memory", "33554432"}, {"own", "limits.cpu", "2"},
		{"none", "requests.memory", "0"}, {"none", "limits.hugepages-2Mi", "0"},
	} {
		got, err := ResourceField(pod, c.container, &corev1.ResourceFieldSelector{Resource: c.field}, list("8", "1Gi"))
		if err != nil || got != c.want {
			t.Errorf("%s %s: %s %v, want %s", c.container, c.field, got, err, c.want)
		}
	}
}
