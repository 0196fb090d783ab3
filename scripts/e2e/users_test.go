package e2e

import (
	"strings"
	"testing"
)

// TestUserNamespace: a pod with hostUsers: false is root inside and nobody on the host, and has its volumes, network and probes as any other.
func TestUserNamespace(t *testing.T) {
	s := newSpace(t)
	s.apply(`
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {word: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: users}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 3000}
  containers:
  - name: c
    image: ` + busybox + `
    command: [sh, -c, "cat /proc/self/uid_map > /data/map; echo up > /dev/stdout; cd /data && httpd -f -p 80"]
    readinessProbe: {httpGet: {port: 80, path: /map}, periodSeconds: 1}
    volumeMounts: [{name: words, mountPath: /words}, {name: data, mountPath: /data}, {name: memory, mountPath: /memory}, {name: data, mountPath: /sub, subPath: sub}]
  - name: other
    image: ` + busybox + `
    securityContext: {runAsUser: 1000, runAsGroup: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    command: [sleep, "600"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: words, configMap: {name: words}}, {name: data, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]
`)
	s.ready("users")
	users := strings.Fields(s.kubectl("exec", "users", "-c", "c", "--", "cat", "/proc/self/uid_map"))
	if len(users) != 3 || users[0] != "0" || users[1] == "0" || users[2] != "65536" {
		t.Fatalf("uid_map %q", users)
	}
	run := func(script string) string { return s.kubectl("exec", "users", "-c", "c", "--", "sh", "-c", script) }
	s.equal("config map", run("cat /words/word"), "hello")
	s.equal("token", run("test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo there"), "there")
	s.equal("its own files", run("touch /memory/x /sub/y /etc/z && chown 5:6 /memory/x && stat -c %u:%g /memory/x /sub/y /etc/z"), "5:6\n0:3000\n0:0")
	s.equal("hosts file", run("grep -c users /etc/hosts"), "1")
	s.equal("log", s.kubectl("logs", "users", "-c", "c"), "up")
	s.equal("another user", s.kubectl("exec", "users", "-c", "other", "--", "sh", "-c", "echo x > /data/mine; stat -c %u:%g /data/mine"), "1000:3000")
	out, err := s.tryKubectl("exec", "users", "-c", "c", "--", "sh", "-c", "echo 1 > /proc/sys/kernel/panic")
	if err == nil {
		t.Errorf("it wrote a sysctl of the host: %q", out)
	}
}
