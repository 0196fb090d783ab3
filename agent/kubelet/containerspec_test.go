package kubelet

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "A", "NONE", "=x", "B=3"}, "host", []string{"C=4", "B=5"})
	if want := []string{defaultPath, "HOSTNAME=host", "B=5", "C=4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestSysctls(t *testing.T) {
	all := func(string) bool { return true }
	with := func(host bool, s ...corev1.Sysctl) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: host, SecurityContext: &corev1.PodSecurityContext{Sysctls: s}}}
	}
	for name, c := range map[string]struct {
		pod    *corev1.Pod
		exists func(string) bool
		want   map[string]string
	}{
		"every pod's": {with(false), all, openToAll},
		"in a user namespace": {&corev1.Pod{Spec: corev1.PodSpec{HostUsers: new(bool)}}, all,
			map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 65535"}},
		"of the host":       {with(true), all, map[string]string{}},
		"an older kernel's": {with(false), func(string) bool { return false }, map[string]string{}},
		"the pod's own win": {with(false, corev1.Sysctl{Name: "net/ipv4/ip_unprivileged_port_start", Value: "1024"}), all,
			map[string]string{"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ping_group_range": "0 2147483647"}},
	} {
		if got := sysctls(c.pod, c.exists); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}
