package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSmallCases holds small pods that once ended otherwise than upstream's. (Pods that a node rejects are in TestNotHonoured.)
func TestSmallCases(t *testing.T) {
	s := newSpace(t)
	pod := func(name, line, fields, spec string) string {
		return shell(name, line, strings.Split(fields, "\n")...) + spec
	}
	s.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: above}\ndata: {first: 'one'}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: below}\nstringData: {second: 'two'}\n" +
		// A volume below a read-only volume, named before it.
		pod("nested", "cat /etc/conf/first; echo; cat /etc/conf/in/side/second; echo; ! touch /etc/conf/more /etc/conf/in/side/more 2>/dev/null && [ ! -e /etc/conf/more ] && [ ! -e /etc/conf/in/side/more ]",
			"volumeMounts: [{name: b, mountPath: /etc/conf/in/side}, {name: a, mountPath: /etc/conf}]",
			"  volumes: [{name: a, configMap: {name: above}}, {name: b, secret: {secretName: below}}]\n") +
		// What charts expect of a user without any right: its group among the groups, low ports, ping, and a subPath that it may write.
		pod("unprivileged", "id -G | grep -qw 2345 || exit 3; nc -l -p 443 -e true & sleep 1; kill %1 || exit 4; "+
			"grep -q '^0.2147483647$' /proc/sys/net/ipv4/ping_group_range || exit 5; mkdir /data/x && touch /deep/x || exit 6",
			"securityContext: {runAsNonRoot: true, runAsUser: 1234, runAsGroup: 2345, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n"+
				"volumeMounts: [{name: e, mountPath: /data, subPath: one}, {name: e, mountPath: /deep, subPath: two/three}]",
			"  volumes: [{name: e, emptyDir: {}}]\n") +
		// A volume of memory is as large as the pod's limit, or as its own if that is less: then who fills it gets an error, and nothing is killed.
		pod("memory", "df -k /m /s | awk '/[0-9]%/ {print $2}'; dd if=/dev/zero of=/s/x bs=1M count=80 2>&1; echo rc $?",
			"resources: {limits: {memory: 48Mi}}\nvolumeMounts: [{name: m, mountPath: /m}, {name: s, mountPath: /s}]",
			"  volumes: [{name: m, emptyDir: {medium: Memory}}, {name: s, emptyDir: {medium: Memory, sizeLimit: 8Mi}}]\n"))

	s.equal("nested", string(s.ended("nested").Status.Phase), string(corev1.PodSucceeded))
	s.equal("log of nested", strings.Join(strings.Fields(s.logs("nested")), " "), "one two")
	unprivileged := s.ended("unprivileged")
	if unprivileged.Status.Phase != corev1.PodSucceeded {
		t.Errorf("unprivileged: %+v\n%s", unprivileged.Status.ContainerStatuses, s.logs("unprivileged"))
	}
	memory := s.ended("memory")
	if memory.Status.Phase != corev1.PodSucceeded {
		t.Errorf("memory: %+v", memory.Status.ContainerStatuses)
	}
	log := s.logs("memory")
	s.contains("log of memory", log, "49152\n8192\n", "No space left on device", "rc 1")
	if strings.Contains(log, "Killed") {
		t.Errorf("something was killed: %s", log)
	}
}
