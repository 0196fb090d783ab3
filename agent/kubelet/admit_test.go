package kubelet

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/runtime/container"
)

func quantities(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// asking is a pod whose one container requests these, and has them as limits when it is to be guaranteed.
func asking(name string, guaranteed bool, pairs ...string) *corev1.Pod {
	r := corev1.ResourceRequirements{Requests: quantities(pairs...)}
	if guaranteed {
		r.Limits = r.Requests
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: r}}}}
}

func with(p *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod { change(p); return p }

func critical(p *corev1.Pod) *corev1.Pod {
	n := int32(2_000_000_000)
	p.Spec.Priority = &n
	return p
}

func testHost() host {
	return host{
		node:        &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/os": "linux"}}},
		allocatable: quantities("cpu", "2", "memory", "4Gi", "pods", "10", "hugepages-2Mi", "4Mi", "example.com/gpu", "1"),
		armor:       armor{loaded: func() (map[string]bool, error) { return nil, errors.New("none") }},
	}
}

// TestAdmission: reasons and messages are upstream's, since controllers and people match them.
func TestAdmission(t *testing.T) {
	windows := func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }
	selector := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"x": "y"} }
	profile := func(kind corev1.AppArmorProfileType, name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: kind, LocalhostProfile: &name}}
		}
	}
	busy := []*corev1.Pod{asking("a", false, "cpu", "1500m", "example.com/gpu", "1"), with(asking("b", false), func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, Protocol: corev1.ProtocolTCP, HostIP: "192.0.2.1"}}
	})}
	tainted := func(h *host) {
		h.node.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}, {Key: "s", Effect: corev1.TaintEffectNoSchedule}}
	}
	armed := func(h *host) {
		h.armor = armor{true, func() (map[string]bool, error) { return map[string]bool{"mine": true}, nil }}
	}
	for _, c := range []struct {
		name    string
		pod     *corev1.Pod
		host    func(*host)
		reason  string
		message string // begins so
	}{
		{"room", asking("p", false, "cpu", "500m"), nil, "", ""},
		{"cpu", asking("p", false, "cpu", "500"), nil, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 500000, used: 1500, capacity: 2000"},
		{"memory", asking("p", false, "memory", "5Gi"), nil, "OutOfmemory", "Node didn't have enough resource: memory, requested: 5368709120, used: 0, capacity: 4294967296"},
		{"huge pages", asking("p", true, "cpu", "1m", "memory", "1Mi", "hugepages-2Mi", "6Mi"), nil, "OutOfhugepages-2Mi", "Node didn't have enough resource: hugepages-2Mi, requested: 6291456, used: 0, capacity: 4194304"},
		{"huge pages of a size that the node has not", asking("p", true, "cpu", "1m", "memory", "1Mi", "hugepages-1Gi", "1Gi"), nil, "OutOfhugepages-1Gi", ""},
		{"extended", asking("p", true, "example.com/gpu", "1"), nil, "OutOfexample.com/gpu", "Node didn't have enough resource: example.com/gpu, requested: 1, used: 1, capacity: 1"},
		{"extended, of the cluster", asking("p", true, "example.com/licence", "1"), nil, "", ""},
		{"full", asking("p", false), func(h *host) { h.allocatable["pods"] = resource.MustParse("2") }, "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"},
		{"selector", with(asking("p", false), selector), nil, "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		{"windows", with(asking("p", false), windows), nil, "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"},
		{"windows by label", with(asking("p", false), func(p *corev1.Pod) { p.Labels = map[string]string{"kubernetes.io/os": "windows"} }), nil, "PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		{"host port of every address", with(asking("p", false), func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, Protocol: corev1.ProtocolTCP}}
		}), nil, "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		{"host port of another address", with(asking("p", false), func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, Protocol: corev1.ProtocolTCP, HostIP: "192.0.2.2"}}
		}), nil, "", ""},
		{"tainted", asking("p", false), tainted, "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
		{"pressed", asking("p", false), func(h *host) { h.pressure.Memory = true }, "Evicted", "The node had condition: [MemoryPressure]. "},
		{"pressed, but asks for something", asking("p", false, "cpu", "1m"), func(h *host) { h.pressure.Memory = true }, "", ""},
		{"disk is full", asking("p", false, "cpu", "1m"), func(h *host) { h.pressure.Disk = true }, "Evicted", "The node had condition: [DiskPressure]. "},
		{"no AppArmor, RuntimeDefault", with(asking("p", false), profile(corev1.AppArmorProfileTypeRuntimeDefault, "")), nil, "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"},
		{"no AppArmor, Localhost", with(asking("p", false), profile(corev1.AppArmorProfileTypeLocalhost, "mine")), nil, "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"},
		{"no AppArmor, Unconfined", with(asking("p", false), profile(corev1.AppArmorProfileTypeUnconfined, "")), nil, "", ""},
		{"AppArmor, Localhost", with(asking("p", false), profile(corev1.AppArmorProfileTypeLocalhost, "mine")), armed, "", ""},
		{"AppArmor, not loaded", with(asking("p", false), profile(corev1.AppArmorProfileTypeLocalhost, "not-there")), armed, "AppArmor", `Cannot enforce AppArmor: profile "not-there" is not loaded`},
		{"AppArmor, annotation", with(asking("p", false), func(p *corev1.Pod) {
			p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": "localhost/not-there"}
		}), armed, "AppArmor", `Cannot enforce AppArmor: profile "not-there" is not loaded`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHost()
			if c.host != nil {
				c.host(&h)
			}
			v, victims := decideAdmission(c.pod, busy, h)
			if len(victims) > 0 {
				t.Errorf("ends %v", victims)
			}
			switch {
			case v == nil && c.reason != "":
				t.Errorf("admitted; want %s", c.reason)
			case v != nil && (v.Reason != c.reason || !strings.HasPrefix(v.Message, rejected+c.message)):
				t.Errorf("%s: %s; want %s: %s", v.Reason, v.Message, c.reason, c.message)
			}
		})
	}
}

// TestPreemption: a critical pod takes the room of others, as few as do, and never more than there is.
func TestPreemption(t *testing.T) {
	others := []*corev1.Pod{asking("best-effort", false), asking("small", false, "cpu", "200m"), asking("large", false, "cpu", "800m"),
		asking("sure", true, "cpu", "500m", "memory", "64Mi"), critical(asking("vital", false, "cpu", "400m")), asking("file", false, "cpu", "100m")}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		gone   string
		reason string
	}{
		{"nearest", critical(asking("p", false, "cpu", "150m")), "small", ""},
		{"one instead of two", critical(asking("p", false, "cpu", "700m")), "large", ""},
		{"burstable before guaranteed", critical(asking("p", false, "cpu", "1")), "large small", ""},
		{"all", critical(asking("p", false, "cpu", "1500m")), "large small sure", ""},
		{"more than there is", critical(asking("p", false, "cpu", "5")), "", "UnexpectedAdmissionError"},
		{"not critical", asking("p", false, "cpu", "150m"), "", "OutOfcpu"},
		{"wrong node", with(critical(asking("p", false, "cpu", "150m")), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"x": "y"} }), "", "NodeAffinity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHost()
			h.statics = map[types.UID]bool{"file": true}
			v, victims := decideAdmission(c.pod, others, h)
			var names []string
			for _, p := range victims {
				names = append(names, p.Name)
			}
			reason := ""
			if v != nil {
				reason = v.Reason
			}
			if got := strings.Join(names, " "); got != c.gone || reason != c.reason {
				t.Errorf("ends %q, reason %q; want %q, %q", got, reason, c.gone, c.reason)
			}
		})
	}
}

func TestArmorOfContainers(t *testing.T) {
	yes := true
	a := armor{true, func() (map[string]bool, error) { return map[string]bool{"mine": true}, nil }}
	plain := asking("p", false)
	privileged := with(asking("p", false), func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	})
	ofPod := with(asking("p", false), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}}
	})
	for _, c := range []struct {
		a    armor
		pod  *corev1.Pod
		want string
	}{
		{a, plain, container.AppArmorDefaultIfPossible}, {a, privileged, ""}, {a, ofPod, container.AppArmorDefault}, {armor{}, plain, ""},
	} {
		if got, err := c.a.profile(c.pod, &c.pod.Spec.Containers[0]); err != nil || got != c.want {
			t.Errorf("%q %v, want %q", got, err, c.want)
		}
	}
}
