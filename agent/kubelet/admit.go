package kubelet

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// safeSysctls are namespaced and harm no other pod.
var safeSysctls = []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}

// admit says why the node refuses a pod that was bound to it; nil: it takes it. A pod that ran here before is taken.
func (k *Kubelet) admit(pod *corev1.Pod, static bool) *plan.Verdict {
	if pod.DeletionTimestamp != nil || pod.Status.StartTime != nil {
		return nil
	}
	if v := k.admitSysctls(pod); v != nil {
		return v
	}
	var others []*corev1.Pod
	for _, w := range k.workers() {
		w.mu.Lock()
		active := w.verdict == nil && w.uid != pod.UID && w.report.now.Phase != corev1.PodFailed && w.report.now.Phase != corev1.PodSucceeded
		p := w.grantedLocked()
		w.mu.Unlock()
		if active {
			others = append(others, p)
		}
	}
	if v := fits(pod, others, k.node.object(), k.node.allocatable()); v != nil && !podres.Critical(pod, static) {
		return v
	}
	return nil
}

func (k *Kubelet) admitSysctls(pod *corev1.Pod) *plan.Verdict {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return nil
	}
	for _, s := range sc.Sysctls {
		if name := strings.ReplaceAll(s.Name, "/", "."); !allowed(name, safeSysctls) && !allowed(name, k.cfg.AllowedSysctls) {
			return &plan.Verdict{Reason: "SysctlForbidden", Message: fmt.Sprintf("Pod was rejected: forbidden sysctl: %q not allowlisted", s.Name)}
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

// fits checks the pod against the node and the pods that are there. It is pure.
func fits(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList) *plan.Verdict {
	if v := fitsResources(pod, others, allocatable); v != nil {
		return v
	}
	if node != nil {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
			return &plan.Verdict{Reason: "NodeAffinity", Message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
		}
	}
	used := map[string]bool{}
	for _, o := range others {
		for _, p := range hostPorts(o) {
			used[p] = true
		}
	}
	for _, p := range hostPorts(pod) {
		if used[p] {
			return &plan.Verdict{Reason: "NodePorts", Message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
		}
	}
	return nil
}

func fitsResources(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) *plan.Verdict {
	opts := resourcehelper.PodResourcesOptions{}
	if max, ok := allocatable[corev1.ResourcePods]; ok && int64(len(others)) >= max.Value() {
		return outOf(corev1.ResourcePods, 1, int64(len(others)), max.Value())
	}
	want := resourcehelper.PodRequests(pod, opts)
	used := map[corev1.ResourceName]int64{}
	for _, o := range others {
		for name, q := range resourcehelper.PodRequests(o, opts) {
			used[name] += amount(name, q.MilliValue(), q.Value())
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		q, ok := want[name]
		have, known := allocatable[name]
		if !ok || q.IsZero() || !known {
			continue
		}
		need, total := amount(name, q.MilliValue(), q.Value()), amount(name, have.MilliValue(), have.Value())
		if used[name]+need > total {
			return outOf(name, need, used[name], total)
		}
	}
	return nil
}

func amount(name corev1.ResourceName, milli, whole int64) int64 {
	if name == corev1.ResourceCPU {
		return milli
	}
	return whole
}

func outOf(name corev1.ResourceName, requested, used, capacity int64) *plan.Verdict {
	return &plan.Verdict{Reason: "OutOf" + string(name), Message: fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)}
}

func hostPorts(pod *corev1.Pod) (out []string) {
	each(pod, func(c *corev1.Container, k kind) {
		for _, p := range c.Ports {
			if p.HostPort > 0 && k != ephemeral {
				ip := p.HostIP
				if ip == "" {
					ip = "0.0.0.0"
				}
				out = append(out, fmt.Sprintf("%s/%s:%d", p.Protocol, ip, p.HostPort))
			}
		}
	})
	return out
}
