package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	schedhelper "k8s.io/component-helpers/scheduling/corev1"
)

// podInfo is a pod with what the rules want to know of it, worked out once.
type podInfo struct {
	*corev1.Pod
	key      string // namespace/name
	priority int32
	requests amounts
	scored   amounts // with a guess for what requests nothing
	ports    []hostPort
	owner    types.UID // its controller, "" if none
	// Terms of pod affinity, parsed.
	affinity, antiAffinity                   []term
	preferredAffinity, preferredAntiAffinity []term
}

type hostPort struct {
	protocol corev1.Protocol
	ip       string // "" is every address
	port     int32
}

func newPodInfo(pod *corev1.Pod) *podInfo {
	p := &podInfo{Pod: pod, key: podKey(pod), priority: schedhelper.PodPriority(pod)}
	p.requests, p.scored = requestsOf(pod)
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		p.owner = ref.UID
	}
	p.ports = hostPortsOf(&pod.Spec)
	if a := pod.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			p.affinity = termsOf(pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.preferredAffinity = weightedTermsOf(pod, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			p.antiAffinity = termsOf(pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.preferredAntiAffinity = weightedTermsOf(pod, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	return p
}

func podKey(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

func (p *podInfo) hasAffinity() bool {
	return len(p.affinity)+len(p.preferredAffinity)+len(p.preferredAntiAffinity)+len(p.antiAffinity) > 0
}

func hostPortsOf(spec *corev1.PodSpec) (ports []hostPort) {
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			hp := hostPort{p.Protocol, p.HostIP, p.HostPort}
			if hp.protocol == "" {
				hp.protocol = corev1.ProtocolTCP
			}
			if hp.ip == "0.0.0.0" || hp.ip == "::" {
				hp.ip = ""
			}
			ports = append(ports, hp)
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}

// conflicts says whether two pods cannot have these ports on one node.
func (p hostPort) conflicts(q hostPort) bool {
	return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == "" || q.ip == "")
}

// term is one parsed term of pod affinity.
type term struct {
	namespaces        map[string]bool
	namespaceSelector labels.Selector // nil selects none
	selector          labels.Selector
	topologyKey       string
	weight            int64 // of a preferred term
}

func termsOf(pod *corev1.Pod, in []corev1.PodAffinityTerm) (terms []term) {
	for i := range in {
		terms = append(terms, termOf(pod, &in[i], 0))
	}
	return terms
}

func weightedTermsOf(pod *corev1.Pod, in []corev1.WeightedPodAffinityTerm) (terms []term) {
	for i := range in {
		terms = append(terms, termOf(pod, &in[i].PodAffinityTerm, int64(in[i].Weight)))
	}
	return terms
}

func termOf(pod *corev1.Pod, in *corev1.PodAffinityTerm, weight int64) term {
	t := term{selector: selectorOf(in.LabelSelector), topologyKey: in.TopologyKey, weight: weight, namespaces: map[string]bool{}}
	for _, ns := range in.Namespaces {
		t.namespaces[ns] = true
	}
	if in.NamespaceSelector != nil {
		t.namespaceSelector = selectorOf(in.NamespaceSelector)
	} else if len(in.Namespaces) == 0 {
		t.namespaces[pod.Namespace] = true
	}
	return t
}

// selectorOf parses a selector; one that cannot be parsed (validation keeps those out) selects nothing.
func selectorOf(in *metav1.LabelSelector) labels.Selector {
	s, err := metav1.LabelSelectorAsSelector(in)
	if err != nil {
		return labels.Nothing()
	}
	return s
}

func (t *term) matches(c *cluster, pod *corev1.Pod) bool {
	if !t.namespaces[pod.Namespace] && (t.namespaceSelector == nil || !t.namespaceSelector.Matches(c.namespaces[pod.Namespace])) {
		return false
	}
	return t.selector.Matches(labels.Set(pod.Labels))
}
