package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNestedVolumes: a volume mounted below a read-only one, whatever the order of the mounts.
func TestNestedVolumes(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: outer}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: inner}
stringData: {b: "2"}
---
apiVersion: v1
kind: Pod
metadata: {name: nested}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: ` + busybox + `
    command: [sh, -c, "cat /etc/x/a /etc/x/y/b /etc/x/f /e/y/b; ls /var/run/secrets/kubernetes.io/serviceaccount/token; if (echo z >/etc/x/new) 2>/dev/null; then exit 9; fi"]
    volumeMounts:
    - {name: i, mountPath: /etc/x/y, readOnly: true}
    - {name: o, mountPath: /etc/x}
    - {name: i, mountPath: /etc/x/f, subPath: b}
    - {name: e, mountPath: /e, readOnly: true}
    - {name: i, mountPath: /e/y}
    - {name: o, mountPath: /var/run/secrets}
  volumes: [{name: o, configMap: {name: outer}}, {name: i, secret: {secretName: inner}}, {name: e, emptyDir: {}}]
`)
	if p := s.ended("nested"); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("%+v", p.Status.ContainerStatuses)
	}
	s.equal("what it read", s.logs("nested"), "1222/var/run/secrets/kubernetes.io/serviceaccount/token")
}

// TestMemoryVolumeSize: a volume in memory is as large as the pod's memory limit; who fills it gets an error and is not killed.
func TestMemoryVolumeSize(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: memory}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: ` + busybox + `, command: [sh, -c, "df -k /m | tail -1 | awk '{print $2}'; df -k /small | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/small/x bs=1M count=2 2>/dev/null || echo full"], resources: {limits: {memory: 64Mi}},
     volumeMounts: [{name: m, mountPath: /m}, {name: s, mountPath: /small}]}
  volumes: [{name: m, emptyDir: {medium: Memory}}, {name: s, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
`)
	s.ended("memory")
	s.equal("the sizes", s.logs("memory"), "65536\n1024\nfull")
}

// TestVolumeModes: a subPath is as its volume; fsGroup is applied once; what an API volume holds cannot be changed.
func TestVolumeModes(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: "1"}
---
apiVersion: v1
kind: Pod
metadata: {name: modes}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 65534, runAsGroup: 65534, fsGroup: 4321}
  containers:
  - name: c
    image: ` + busybox + `
    command: [sh, -c, "mkdir /e/private && chmod 0700 /e/private && touch /e/private/key && chmod 0600 /e/private/key && mkdir /s/x && touch /s/done; ` + sleeper + `"]
    volumeMounts: [{name: e, mountPath: /e}, {name: e, mountPath: /s, subPath: a/b}, {name: v, mountPath: /c}]
  volumes: [{name: e, emptyDir: {}}, {name: v, configMap: {name: c, defaultMode: 0400}}]
`)
	s.ready("modes")
	modes := "stat -L -c '%a %g' /e /s /e/private /e/private/key /c/a"
	s.eventually("the container made its files", func() error { _, err := s.tryKubectl("exec", "modes", "--", "test", "-e", "/s/done"); return err })
	before := s.sh("modes", modes)
	s.equal("modes", before, "2777 4321\n2777 4321\n700 4321\n600 65534\n440 4321")
	s.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: \"2\"}}")
	s.eventually("the new value", func() error {
		_, err := s.tryKubectl("exec", "modes", "--", "grep", "-q", "2", "/c/a")
		return err
	})
	s.equal("modes after a change", s.sh("modes", modes), before)
}
