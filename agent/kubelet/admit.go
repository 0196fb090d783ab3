package kubelet

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/internal/features"
)

// rejected begins the message of a pod that the node refuses; the event goes without it.
const rejected = "Pod was rejected: "

// safeSysctls are namespaced and harm no other pod.
var safeSysctls = []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}

// reject is the verdict on a pod that does not run here; its status has no containers.
func reject(reason, format string, args ...any) *plan.Verdict {
	return &plan.Verdict{Reason: reason, Message: rejected + fmt.Sprintf(format, args...), Rejected: true}
}

// host is what admission wants to know of the node.
type host struct {
	node        *corev1.Node // nil before it is registered
	allocatable corev1.ResourceList
	pressure    pressure
	sysctls     []string // allowed beside the safe ones
	armor       armor
	statics     map[types.UID]bool // pods from files
	features    []string           // that the node declares
}

// admit says why the node refuses a pod that was bound to it (nil: it takes it), and which pods have to go first so that there is room. A pod
// that ran here before is taken.
func (k *Kubelet) admit(pod *corev1.Pod, static bool) (*plan.Verdict, []*worker) {
	if pod.DeletionTimestamp != nil || pod.Status.StartTime != nil || static && k.runs(pod) {
		return nil, nil
	}
	k.granting.Lock() // two pods must not be given the same room
	defer k.granting.Unlock()
	var others []*corev1.Pod
	for _, p := range k.active(nil) {
		if p.UID != pod.UID {
			others = append(others, p)
		}
	}
	h := host{k.node.object(), k.node.allocatable(), k.node.pressed(), k.cfg.AllowedSysctls, k.armor, map[types.UID]bool{pod.UID: static}, k.cfg.Features.Declared()}
	for _, w := range k.workers() {
		h.statics[w.uid] = w.static
	}
	verdict, victims := decideAdmission(pod, others, h)
	return verdict, k.preempted(pod, victims)
}

// preempted ends the victims, and returns their workers.
func (k *Kubelet) preempted(pod *corev1.Pod, victims []*corev1.Pod) (out []*worker) {
	for _, v := range victims {
		k.mu.Lock()
		w := k.pods[v.UID]
		k.mu.Unlock()
		if w == nil {
			continue
		}
		k.cfg.Log.Warn("a critical pod needs the room of another", "pod", pod.Namespace+"/"+pod.Name, "victim", w.name())
		k.events.pod(v, corev1.EventTypeWarning, "Preempting", "Preempted in order to admit critical pod")
		w.end(plan.Verdict{Reason: "Preempting", Message: "Preempted in order to admit critical pod",
			Disruption: corev1.PodReasonTerminationByKubelet, DisruptionMessage: "Pod was preempted by Kubelet to accommodate a critical pod."})
		out = append(out, w)
	}
	return out
}

// runs says whether a sandbox of the pod is there already, from before the daemon started.
func (k *Kubelet) runs(pod *corev1.Pod) bool {
	for _, s := range k.cfg.Runtime.List() {
		if uidOfSandbox(s.Spec.ID) == pod.UID {
			return true
		}
	}
	return false
}

// decideAdmission is pure. Checks that no eviction would help come first.
func decideAdmission(pod *corev1.Pod, others []*corev1.Pod, h host) (*plan.Verdict, []*corev1.Pod) {
	static := h.statics[pod.UID]
	for _, check := range []func() *plan.Verdict{
		func() *plan.Verdict { return admitPressure(pod, static, h.pressure) },
		func() *plan.Verdict { return admitSysctls(pod, h.sysctls) },
		func() *plan.Verdict { return admitOS(pod) },
		func() *plan.Verdict { return h.armor.admit(pod) },
		func() *plan.Verdict { return admitFeatures(pod, h.features) },
	} {
		if v := check(); v != nil {
			return v, nil
		}
	}
	short, full := shortages(pod, others, h.allocatable)
	predicate := fitsNode(pod, static, others, h.node)
	critical := podres.Critical(pod, static)
	switch {
	case predicate != nil && (critical || len(short) == 0 && full == nil):
		return predicate, nil
	case full == nil && len(short) == 0:
		return nil, nil
	case !critical:
		if full != nil {
			return full.verdict(), nil
		}
		return short[0].verdict(), nil
	}
	if full != nil {
		short = append([]shortage{*full}, short...)
	}
	victims, err := preempt(pod, others, h.statics, short)
	if err != nil {
		return reject("UnexpectedAdmissionError", "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: %v", err), nil
	}
	return nil, victims
}

// admitPressure keeps pods away that eviction would take first.
func admitPressure(pod *corev1.Pod, static bool, p pressure) *plan.Verdict {
	var conditions []corev1.NodeConditionType
	for _, c := range []struct {
		on   bool
		name corev1.NodeConditionType
	}{{p.Memory, corev1.NodeMemoryPressure}, {p.Disk, corev1.NodeDiskPressure}, {p.PIDs, corev1.NodePIDPressure}} {
		if c.on {
			conditions = append(conditions, c.name)
		}
	}
	if len(conditions) == 0 || podres.Critical(pod, static) {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
	if p.Memory && len(conditions) == 1 && (podres.QOS(pod) != corev1.PodQOSBestEffort || tolerates(pod, &taint)) {
		return nil
	}
	return reject("Evicted", "The node had condition: %v. ", conditions)
}

func admitSysctls(pod *corev1.Pod, more []string) *plan.Verdict {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return nil
	}
	for _, s := range sc.Sysctls {
		if name := strings.ReplaceAll(s.Name, "/", "."); !allowed(name, safeSysctls) && !allowed(name, more) {
			return reject("SysctlForbidden", "forbidden sysctl: %q not allowlisted", s.Name)
		}
	}
	return nil
}

func allowed(name string, list []string) bool {
	for _, a := range list {
		if a == name || strings.HasSuffix(a, "*") && strings.HasPrefix(name, strings.TrimSuffix(a, "*")) {
			return true
		}
	}
	return false
}

// admitOS refuses pods of another operating system. Upstream looks at the pod's label, too.
func admitOS(pod *corev1.Pod) *plan.Verdict {
	if os, ok := pod.Labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return reject("PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return reject("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
	}
	return nil
}

// admitFeatures refuses a pod that needs what the node does not have, also if it came here past the scheduler.
func admitFeatures(pod *corev1.Pod, declared []string) *plan.Verdict {
	if missing := features.Missing(features.Needed(&pod.Spec), declared); len(missing) > 0 {
		return reject("PodFeatureUnsupported", "Pod requires node features that are not available: %s", strings.Join(missing, ", "))
	}
	return nil
}

// fitsNode checks what other pods' resources have nothing to do with: affinity, ports, taints.
func fitsNode(pod *corev1.Pod, static bool, others []*corev1.Pod, node *corev1.Node) *plan.Verdict {
	no := func(name, why string) *plan.Verdict { return reject(name, "Predicate %s failed: %s", name, why) }
	if node != nil {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
			return no("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
		}
	}
	var used []hostPort
	for _, o := range others {
		used = append(used, hostPorts(o)...)
	}
	for _, p := range hostPorts(pod) {
		if slices.ContainsFunc(used, p.conflicts) {
			return no("NodePorts", "node(s) didn't have free ports for the requested pod ports")
		}
	}
	if node == nil || static {
		return nil
	}
	for i := range node.Spec.Taints {
		if t := &node.Spec.Taints[i]; t.Effect == corev1.TaintEffectNoExecute && !tolerates(pod, t) {
			return no("TaintToleration", "node(s) had taints that the pod didn't tolerate")
		}
	}
	return nil
}

func tolerates(pod *corev1.Pod, t *corev1.Taint) bool {
	for i := range pod.Spec.Tolerations {
		if pod.Spec.Tolerations[i].ToleratesTaint(klog.Logger{}, t, true) {
			return true
		}
	}
	return false
}

// hostPort that a pod takes of the node; ip "" is every address.
type hostPort struct {
	protocol corev1.Protocol
	ip       string
	port     int32
}

func (p hostPort) conflicts(q hostPort) bool {
	return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == "" || q.ip == "")
}

func hostPorts(pod *corev1.Pod) (out []hostPort) {
	each(pod, func(c *corev1.Container, k kind) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 || k == ephemeral {
				continue
			}
			hp := hostPort{p.Protocol, p.HostIP, p.HostPort}
			if hp.ip == "0.0.0.0" || hp.ip == "::" {
				hp.ip = ""
			}
			out = append(out, hp)
		}
	})
	return out
}
