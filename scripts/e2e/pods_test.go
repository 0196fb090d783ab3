package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func (s *space) terminated(p *corev1.Pod, code int32, reason string) {
	s.Helper()
	term := p.Status.ContainerStatuses[0].State.Terminated
	if term == nil || term.ExitCode != code || term.Reason != reason {
		s.Errorf("pod %s: %+v, want exit code %d and %s", p.Name, p.Status.ContainerStatuses[0].State, code, reason)
	}
}

// TestEnds: exit codes, signals, OOM, termination messages, commands and images that do not exist.
func TestEnds(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("ok", "echo done >/dev/termination-log") + shell("fails", "exit 42") +
		shell("hungry", "tail /dev/zero", "resources: {limits: {memory: 32Mi}}") +
		shell("message", "echo last words; exit 1", "terminationMessagePolicy: FallbackToLogsOnError") +
		shell("late", sleeper) + strings.ReplaceAll(shell("nocommand", "x"), "[sh, -c, \"x\"]", "[/nonsense]") +
		shell("never", "true", "imagePullPolicy: Never") + strings.ReplaceAll(shell("absent", "true", "imagePullPolicy: Never"), busybox, "example/absent:1"))
	s.terminated(s.ended("ok"), 0, "Completed")
	s.equal("message", s.get("pod/ok", ".status.containerStatuses[0].state.terminated.message"), "done")
	s.terminated(s.ended("fails"), 42, "Error")
	s.terminated(s.ended("hungry"), 137, "OOMKilled")
	s.terminated(s.ended("message"), 1, "Error")
	s.equal("message from the log", s.get("pod/message", ".status.containerStatuses[0].state.terminated.message"), "last words")
	p := s.ended("nocommand")
	if term := p.Status.ContainerStatuses[0].State.Terminated; term == nil || term.ExitCode != 128 && term.ExitCode != 127 || !strings.Contains(term.Message, "/nonsense") {
		t.Errorf("nocommand: %+v", term)
	}
	s.ended("never")
	s.becomes("pod/absent", ".status.containerStatuses[0].state.waiting.reason", "ErrImageNeverPull")
	s.ready("late")
	s.kubectl("patch", "pod", "late", "-p", `{"spec":{"activeDeadlineSeconds":1}}`)
	s.pod("late", "DeadlineExceeded", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "DeadlineExceeded"
	})
}

// TestBackOff: a container that ends again and again is restarted after 10 s, then 20 s.
func TestBackOff(t *testing.T) {
	s := newSpace(t)
	crashes := s.history("crash")
	s.apply(strings.ReplaceAll(shell("crash", "exit 1"), "restartPolicy: Never", "restartPolicy: Always") +
		strings.ReplaceAll(shell("onfailure", "exit 0"), "restartPolicy: Never", "restartPolicy: OnFailure"))
	p := crashes.until("CrashLoopBackOff", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil
	})
	waiting := p.Status.ContainerStatuses[0].State.Waiting
	s.equal("reason", waiting.Reason, "CrashLoopBackOff")
	s.contains("message", waiting.Message, "back-off 10s restarting failed container=main pod=crash_"+s.name)
	crashes.until("restarted twice", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 2 })
	s.terminated(s.ended("onfailure"), 0, "Completed")
	s.contains("events", s.kubectl("events", "--for", "pod/crash"), "BackOff", "Back-off restarting failed container")
}

// TestInit: init containers run one after the other; a sidecar starts before the main container and goes on.
func TestInit(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: one, image: ` + busybox + `, command: [sh, -c, 'sleep 0.3; echo one >>/d/x'], volumeMounts: [{name: d, mountPath: /d}]}
  - {name: side, image: ` + busybox + `, restartPolicy: Always, command: [sh, -c, 'echo side >>/d/x; ` + sleeper2 + `'], volumeMounts: [{name: d, mountPath: /d}], startupProbe: {exec: {command: [test, -s, /d/x]}, timeoutSeconds: 30, periodSeconds: 1}}
  - {name: two, image: ` + busybox + `, command: [sh, -c, 'echo two >>/d/x'], volumeMounts: [{name: d, mountPath: /d}]}
  containers:
  - {name: main, image: ` + busybox + `, command: [cat, /d/x], volumeMounts: [{name: d, mountPath: /d}]}
  volumes: [{name: d, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  restartPolicy: Never
  initContainers: [{name: one, image: ` + busybox + `, command: [sh, -c, exit 5]}]
  containers: [{name: main, image: ` + busybox + `, command: [echo, never]}]
`)
	if p := s.ended("a"); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("a: %+v", p.Status)
	}
	s.equal("order", s.kubectl("logs", "a", "-c", "main"), "one\nside\ntwo")
	p := s.ended("broken")
	s.equal("phase", string(p.Status.Phase), "Failed")
	s.contains("columns", s.kubectl("get", "pod", "broken"), "Init:Error")
	s.equal("init exit code", s.get("pod/broken", ".status.initContainerStatuses[0].state.terminated.exitCode"), "5")
}

const sleeper2 = `trap "exit 0" TERM; sleep 1000000 & wait`

// TestProbes: readiness takes a pod out of its Service, liveness restarts a container, a startup probe holds both back.
func TestProbes(t *testing.T) {
	s := newSpace(t)
	always := func(m string) string { return strings.ReplaceAll(m, "restartPolicy: Never", "restartPolicy: Always") }
	s.apply(shell("ready", "touch /tmp/ok; "+sleeper, "readinessProbe: {exec: {command: [cat, /tmp/ok]}, timeoutSeconds: 30, periodSeconds: 1, failureThreshold: 1}") +
		always(shell("live", "mkdir /tmp/www; touch /tmp/www/ok; httpd -p 8080 -h /tmp/www; "+sleeper, "startupProbe: {httpGet: {path: /ok, port: 8080}, timeoutSeconds: 30, periodSeconds: 1, failureThreshold: 300}", "livenessProbe: {httpGet: {path: /ok, port: 8080}, timeoutSeconds: 30, periodSeconds: 1, failureThreshold: 1}")) +
		shell("tcp", "exec httpd -f -p 7000 -h /tmp", "readinessProbe: {tcpSocket: {port: 7000}, timeoutSeconds: 30, periodSeconds: 1}") +
		always(shell("slow", "sleep 3; touch /tmp/up; "+sleeper, "startupProbe: {exec: {command: [cat, /tmp/up]}, timeoutSeconds: 30, periodSeconds: 1, failureThreshold: 300}", "livenessProbe: {exec: {command: [cat, /tmp/up]}, timeoutSeconds: 30, periodSeconds: 1, failureThreshold: 1}")))
	s.kubectl("expose", "pod", "ready", "--port=80")
	s.ready("ready", "live", "tcp", "slow")
	s.equal("slow was not restarted", s.get("pod/slow", ".status.containerStatuses[0].restartCount"), "0")
	endpoints := func(want string) {
		s.Helper()
		s.eventually("ready endpoints", func() error {
			have, err := s.tryKubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=ready", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
			if err == nil && have != want {
				err = fmt.Errorf("%q, want %q", have, want)
			}
			return err
		})
	}
	endpoints("true")
	s.sh("ready", "rm /tmp/ok")
	endpoints("false")
	s.sh("ready", "touch /tmp/ok")
	endpoints("true")
	s.sh("live", "rm /tmp/www/ok")
	s.becomes("pod/live", ".status.containerStatuses[0].restartCount", "1")
	s.contains("why", s.kubectl("events", "--for", "pod/live"), "Liveness probe failed: HTTP probe failed with statuscode: 404", "Container main failed liveness probe, will be restarted")
}

// TestHooks: postStart and preStop run, and the grace period counts from preStop.
func TestHooks(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  terminationGracePeriodSeconds: 120
  containers:
  - name: main
    image: ` + busybox + `
    command: [sh, -c, 'trap "echo term; exit 0" TERM; while :; do sleep 0.1; done']
    lifecycle:
      postStart: {exec: {command: [sh, -c, 'echo started >/tmp/hook']}}
      preStop: {exec: {command: [sh, -c, 'echo stopping >/proc/1/fd/1; sleep 1']}}
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: ` + busybox + `
    command: [sleep, '1000']
    lifecycle: {postStart: {exec: {command: [sh, -c, 'echo because; exit 1']}}}
`)
	s.ready("a")
	s.equal("postStart", s.sh("a", "cat /tmp/hook"), "started")
	out, _ := s.start("logs", "-f", "a")
	s.kubectl("delete", "pod", "a", "--wait=false")
	s.saysInTime(out, "stopping\nterm")
	s.ended("bad")
	s.contains("failed hook", s.kubectl("events", "--for", "pod/bad"), "FailedPostStartHook")
}

// TestConfiguration: environment and volumes from ConfigMaps, Secrets, fields and tokens; changes arrive in running pods.
func TestConfiguration(t *testing.T) {
	s := newSpace(t)
	s.kubectl("create", "configmap", "conf", "--from-literal=key=before", "--from-literal=other=x")
	s.kubectl("create", "secret", "generic", "sec", "--from-literal=password=hunter2")
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {tier: front}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: ` + busybox + `
    command: [sh, -c, '` + sleeper2 + `']
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
    env:
    - {name: PLAIN, value: 'a $(NODE) $$(NODE)'}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: EXPANDED, value: '$(NODE)!'}
    - {name: KEY, valueFrom: {configMapKeyRef: {name: conf, key: key}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: sec, key: password}}}
    - {name: OPTIONAL, valueFrom: {configMapKeyRef: {name: none, key: none, optional: true}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    envFrom: [{prefix: C_, configMapRef: {name: conf}}]
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: sec, mountPath: /sec, readOnly: true}
    - {name: all, mountPath: /all}
    - {name: conf, mountPath: /sub/key, subPath: key}
    - {name: mem, mountPath: /mem}
    - {name: host, mountPath: /host}
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: sec, secret: {secretName: sec, defaultMode: 0400}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: ` + s.node.Dir() + `/host, type: DirectoryOrCreate}}
  - name: all
    projected:
      sources:
      - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
      - {serviceAccountToken: {path: token, audience: me, expirationSeconds: 600}}
      - {configMap: {name: conf, items: [{key: key, path: deep/key}]}}
`)
	s.ready("a")
	env := s.sh("a", "env")
	s.contains("env", env, "PLAIN=a $(NODE) $(NODE)", "NODE=n1", "EXPANDED=n1!", "KEY=before", "PASSWORD=hunter2", "MEMORY=67108864", "C_other=x", "KUBERNETES_SERVICE_HOST=10.43.0.1")
	if strings.Contains(env, "OPTIONAL") {
		t.Error("OPTIONAL is set")
	}
	s.equal("secret's mode", s.sh("a", "stat -L -c %a /sec/password"), "400")
	s.equal("memory", s.sh("a", "stat -f -c %T /mem"), "tmpfs")
	s.contains("token", s.sh("a", "cat /all/token /var/run/secrets/kubernetes.io/serviceaccount/token"), ".")
	s.equal("namespace", s.sh("a", "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"), s.name)
	s.sh("a", "echo from the pod >/host/file")

	s.kubectl("patch", "configmap", "conf", "-p", `{"data":{"key":"after"}}`)
	s.kubectl("patch", "secret", "sec", "-p", `{"stringData":{"password":"hunter3"}}`)
	s.kubectl("label", "pod", "a", "tier=back", "--overwrite")
	start := time.Now()
	s.eventually("updates", func() error {
		want := "after after hunter3 tier=\"back\""
		if have := strings.ReplaceAll(s.sh("a", "cat /conf/key; echo; cat /all/deep/key; echo; cat /sec/password; echo; cat /all/labels"), "\n", " "); have != want {
			return fmt.Errorf("%q, want %q", have, want)
		}
		return nil
	})
	t.Logf("updates arrived within %v", time.Since(start).Round(100*time.Millisecond))
	s.equal("subPath stays", s.sh("a", "cat /sub/key"), "before")
}

// TestSecurity: users, groups, capabilities, read-only root, privileged, no new privileges, seccomp, sysctls.
func TestSecurity(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: tight}
spec:
  terminationGracePeriodSeconds: 1
  shareProcessNamespace: true
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000], seccompProfile: {type: RuntimeDefault}, sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '80'}]}
  containers:
  - name: main
    image: ` + busybox + `
    command: [sh, -c, '` + sleeper2 + `']
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: d, mountPath: /d}]
  - {name: second, image: ` + busybox + `, command: [sh, -c, '` + sleeper2 + `']}
  volumes: [{name: d, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: loose}
spec:
  terminationGracePeriodSeconds: 1
  hostNetwork: true
  hostPID: true
  containers:
  - {name: main, image: ` + busybox + `, command: [sh, -c, '` + sleeper2 + `'], securityContext: {privileged: true}}
---
apiVersion: v1
kind: Pod
metadata: {name: rootless}
spec:
  containers: [{name: main, image: ` + busybox + `, command: [id], securityContext: {runAsNonRoot: true}}]
`)
	s.ready("tight", "loose")
	s.equal("id", s.kubectl("exec", "tight", "-c", "main", "--", "sh", "-c", "id -u; id -g; id -G"), "1000\n2000\n2000 3000 4000")
	status := s.kubectl("exec", "tight", "-c", "main", "--", "cat", "/proc/self/status")
	s.contains("status", status, "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
	s.contains("read-only", s.kubectl("exec", "tight", "-c", "main", "--", "sh", "-c", "touch /x 2>&1 || true; touch /d/x && stat -c %g /d/x"), "Read-only file system", "3000")
	s.contains("shared processes", s.kubectl("exec", "tight", "-c", "main", "--", "ps", "-o", "args"), "sh -c")
	s.equal("sysctl", s.kubectl("exec", "tight", "-c", "main", "--", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "80")
	s.contains("privileged", s.sh("loose", "cat /proc/self/status; mount -t tmpfs x /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs x /mnt && echo mounted"), "Seccomp:\t0", "mounted")
	s.contains("host network", s.sh("loose", "ip addr"), s.node.IP)
	s.becomes("pod/rootless", ".status.containerStatuses[0].state.waiting.reason", "CreateContainerConfigError")
	s.contains("why", s.get("pod/rootless", ".status.containerStatuses[0].state.waiting.message"), "container has runAsNonRoot and image will run as root")
}

// TestResources: requests and limits become cgroups, and the QoS class is told.
func TestResources(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("guaranteed", sleeper, "resources: {limits: {cpu: 200m, memory: 32Mi}}") + shell("burstable", sleeper, "resources: {requests: {cpu: 100m}}") + shell("besteffort", sleeper))
	s.ready("guaranteed", "burstable", "besteffort")
	for name, want := range map[string]string{"guaranteed": "Guaranteed", "burstable": "Burstable", "besteffort": "BestEffort"} {
		s.equal(name, s.get("pod/"+name, ".status.qosClass"), want)
	}
	s.contains("memory", s.sh("guaranteed", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true"), "33554432")
	s.contains("cpu", s.sh("guaranteed", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || true"), "20000")
}
