package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The tests of this file: a program in a container exchanges directories for symbolic links, as fast as it can, in places where the
// daemon works as root. Whatever the daemon's work comes to, nothing outside of the place may change. They make no assumption on who
// wins a race: each works for a while (SKIFF_HOSTILE, 2 s by default; `make hostile` takes 30 s), at least one round.

// hostileTime is how long each place is attacked.
func hostileTime(t *testing.T) time.Duration {
	text := os.Getenv("SKIFF_HOSTILE")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SKIFF_HOSTILE: %v", err)
	}
	return d
}

// secretText is what no container and no answer may show.
const secretText = "canary-e4c1b8"

// arena has a folder that containers write in, and one of the host that must not change.
type arena struct {
	*space
	dir, canary, shared string
	before              string
}

func newArena(t *testing.T) *arena {
	s := newSpace(t)
	dir, err := os.MkdirTemp(s.node.Dir(), "arena-")
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{space: s, dir: dir, canary: filepath.Join(dir, "canary"), shared: filepath.Join(dir, "shared")}
	for path, mode := range map[string]os.FileMode{a.canary: 0o755, a.canary + "/sub": 0o750, a.shared: 0o777} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"secret", "0.log", "sub/secret"} {
		line := "2026-01-01T00:00:00.000000000Z stdout F " + secretText + "\n" + secretText + "=1\n"
		if err := os.WriteFile(filepath.Join(a.canary, f), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.before = picture(t, a.canary)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return a
}

// picture is everything about a tree that nobody may change.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		sys, sum := st.Sys().(*syscall.Stat_t), ""
		if st.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		out = append(out, fmt.Sprintf("%s %v %d:%d %s", path, st.Mode(), sys.Uid, sys.Gid, sum))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// attack works until the time is over, then compares.
func (a *arena) attack(t *testing.T, work func(round int)) {
	t.Helper()
	rounds := 0
	for end := time.Now().Add(hostileTime(t)); rounds == 0 || time.Now().Before(end); rounds++ {
		work(rounds)
	}
	t.Logf("%d rounds", rounds)
	a.equal("the host's folder", picture(t, a.canary), a.before)
}

// swapping is a shell line that makes, in turn and for ever, each of the names a link to the canary and a directory. names are patterns.
func (a *arena) swapping(names ...string) string {
	return `while :; do for x in ` + strings.Join(names, " ") + `; do rm -rf $x; ln -s ` + a.canary + ` $x; rm -f $x; mkdir $x; done; done 2>/dev/null`
}

// swapper is a pod that runs a line with a host folder at /shared.
func (a *arena) swapper(folder, line string) {
	a.apply(hostilePod("swapper", "", a.on(folder), line))
	a.ready("swapper")
}

func (a *arena) on(folder string) string {
	return `[{name: v, hostPath: {path: ` + folder + `}}]`
}

func hostilePod(name, pod, volumes, line string) string {
	return `
---
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  ` + pod + `
  volumes: ` + volumes + `
  containers:
  - {name: main, image: ` + busybox + `, command: [sh, -c, ` + strconv.Quote(line) + `], volumeMounts: [{name: v, mountPath: /shared}]}
`
}

// settled waits until a pod has ended, or cannot start for a reason that it shows, then removes it and returns what it wrote.
func (a *arena) settled(name string) string {
	a.Helper()
	a.eventually(name+" has ended or says why not", func() error {
		p, err := a.client.CoreV1().Pods(a.name).Get(a.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			return nil
		}
		for _, c := range p.Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil && strings.Contains(w.Reason, "Error") {
				return nil
			}
		}
		if events, _ := a.tryKubectl("events", "--for", "pod/"+name); strings.Contains(events, "FailedMount") {
			return nil
		}
		return fmt.Errorf("phase %s", p.Status.Phase)
	})
	out, _ := a.tryKubectl("logs", name)
	a.kubectl("delete", "pod", name, "--now", "--wait", inTime)
	if strings.Contains(out, secretText) {
		a.Errorf("%s saw the host's file: %s", name, cut(out))
	}
	return out
}

// configMap makes the ConfigMap c hold a new value.
func (a *arena) configMap(round int) {
	a.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: \"" + strconv.Itoa(round) + "\"}}")
}

// TestSwapsInAPIVolumes: a container whose root may even mount makes its ConfigMap volume writable and exchanges what the daemon made in it.
func TestSwapsInAPIVolumes(t *testing.T) {
	a := newArena(t)
	a.configMap(0)
	swap := `mount -o remount,rw,bind /shared; while :; do for x in /shared/..2* /shared/..data /shared/..data_tmp /shared/a; do
		mv $x /shared/old; ln -s ` + a.canary + ` $x; rm -rf $x; mkdir $x; rm -rf /shared/old; done; done 2>/dev/null`
	volumes := `[{name: v, configMap: {name: c}}]`
	a.apply(strings.Replace(hostilePod("swapper", "securityContext: {fsGroup: 4321}", volumes, swap), "volumeMounts", "securityContext: {privileged: true}, volumeMounts", 1) +
		hostilePod("reader", "", volumes, "touch /shared/new && exit 9; "+sleeper))
	a.ready("swapper", "reader")
	last := 0
	a.attack(t, func(round int) { last = round + 1; a.configMap(last) })
	a.eventually("the last value", func() error {
		if got := a.sh("reader", "cat /shared/a"); got != strconv.Itoa(last) {
			return fmt.Errorf("%q, not %d", got, last)
		}
		return nil
	})
}

// TestSwapsUnderGroups: files of an emptyDir and of a persistent volume become links while the pod's API volumes change, and while pods
// with an fsGroup begin.
func TestSwapsUnderGroups(t *testing.T) {
	a := newArena(t)
	a.configMap(0)
	swap := `mkdir -p /e/d; while :; do ln -s ` + a.canary + `/secret /e/d/f; rm -f /e/d/f; touch /e/d/f; rm -f /e/d/f; mv /e/d /e/o; ln -s ` + a.canary + ` /e/d; rm -f /e/d; mv /e/o /e/d; done 2>/dev/null`
	a.apply(`
apiVersion: v1
kind: Pod
metadata: {name: swapper}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {fsGroup: 4321, runAsUser: 1000}
  volumes: [{name: e, emptyDir: {}}, {name: v, configMap: {name: c}}]
  containers:
  - {name: main, image: ` + busybox + `, command: [sh, -c, ` + strconv.Quote(swap) + `], volumeMounts: [{name: e, mountPath: /e}, {name: v, mountPath: /shared}]}
`)
	a.ready("swapper")
	a.apply(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: ` + a.name + `}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  storageClassName: ` + a.name + `
  claimRef: {namespace: ` + a.name + `, name: c}
  local: {path: ` + a.shared + `}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec: {storageClassName: ` + a.name + `, accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}, volumeName: ` + a.name + `}
`)
	t.Cleanup(func() { _, _ = a.tryKubectl("delete", "pv", a.name, "--wait=false") })
	a.kubectl("patch", "pvc", "c", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Bound"}}`) // there is no binder yet
	a.apply(hostilePod("other", "", a.on(a.shared), strings.ReplaceAll(swap, "/e/", "/shared/")))
	a.ready("other")
	a.attack(t, func(round int) {
		a.configMap(round + 1)
		name := fmt.Sprintf("group-%d", round)
		a.apply(hostilePod(name, "securityContext: {fsGroup: "+strconv.Itoa(5000+round)+"}", "[{name: v, persistentVolumeClaim: {claimName: c}}]", "true"))
		a.settled(name)
	})
}

// TestSwapsUnderSubPaths: the directory of a subPath becomes a link while containers that mount it begin.
func TestSwapsUnderSubPaths(t *testing.T) {
	a := newArena(t)
	a.swapper(a.shared, a.swapping("/shared/a", "/shared/b/c"))
	a.attack(t, func(round int) {
		for _, sub := range []string{"a", "a/new" + strconv.Itoa(round), "b/c/d/e", "a/secret"} {
			name := fmt.Sprintf("sub-%d-%s", round, strings.ReplaceAll(sub, "/", "-"))
			pod := hostilePod(name, "", a.on(a.shared), "cat /shared /shared/secret /shared/*/secret; touch /shared/x; true")
			a.apply(strings.Replace(pod, "mountPath: /shared", "mountPath: /shared, subPath: "+sub, 1))
			a.settled(name)
		}
	})
}

// TestSwapsUnderHostPaths: directories above a host path that may be made become links while pods that ask for it begin.
func TestSwapsUnderHostPaths(t *testing.T) {
	a := newArena(t)
	a.swapper(a.shared, a.swapping("/shared/a"))
	a.attack(t, func(round int) {
		for i, kind := range []string{"DirectoryOrCreate", "FileOrCreate", ""} {
			name := fmt.Sprintf("path-%d-%d", round, i)
			a.apply(hostilePod(name, "", fmt.Sprintf(`[{name: v, hostPath: {path: %s/a/%s, type: %q}}]`, a.shared, name, kind), "true"))
			a.settled(name)
		}
	})
}

// TestSwapsUnderRemoval: what is in an emptyDir becomes links while the volume is removed.
func TestSwapsUnderRemoval(t *testing.T) {
	a := newArena(t)
	pods := filepath.Join(a.node.DataDir(), "agent", "pods")
	a.swapper(pods, a.swapping("/shared/*/volumes/hostile/a"))
	a.attack(t, func(round int) {
		name := fmt.Sprintf("removed-%d", round)
		line := `mkdir /shared/a; i=0; while [ $i -lt 300 ]; do mkdir -p d$i/a/b; ln -s ` + a.canary + ` d$i/l; i=$((i+1)); done; true`
		pod := hostilePod(name, "", `[{name: hostile, emptyDir: {}}]`, "cd /shared; "+line)
		a.apply(strings.Replace(pod, "{name: v, mountPath", "{name: hostile, mountPath", 1))
		a.settled(name)
	})
}

// TestSwapsUnderLogs: a collector with the log folder turns logs and their folders into links while logs are written, read and removed.
func TestSwapsUnderLogs(t *testing.T) {
	a := newArena(t)
	logs := filepath.Join(a.node.Dir(), "log")
	a.apply(shell("first", "true")) // the folder is there when a pod has been
	a.ended("first")
	mine := "/shared/pods/" + a.name + "_logger-*"
	a.swapper(logs, `while :; do
		for x in `+mine+`/main; do mv $x $x.old; ln -s `+a.canary+` $x; rm -f $x; mv $x.old $x; ln -s `+a.canary+`/secret $x/0.log.1; rm -f $x/0.log.1; done
		for x in `+mine+`/main/0.log; do mv $x $x.old; ln -s `+a.canary+`/0.log $x; rm -f $x; mv $x.old $x; done
		for x in `+mine+`; do mv $x /shared/pods/.old; ln -s `+a.canary+` $x; rm -f $x; mv /shared/pods/.old $x; done
		done 2>/dev/null`)
	a.attack(t, func(round int) {
		name := fmt.Sprintf("logger-%d", round)
		a.apply(shell(name, "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; done"))
		for range 20 {
			if out, _ := a.tryKubectl("logs", name); strings.Contains(out, secretText) {
				t.Errorf("kubectl logs showed a file of the host: %s", cut(out))
			}
		}
		a.settled(name)
	})
}

// TestSwapsUnderVariables: the file that a container's variables come from becomes a link, and a FIFO, while it is read.
func TestSwapsUnderVariables(t *testing.T) {
	a := newArena(t)
	a.attack(t, func(round int) {
		swap := `while :; do ln -s ` + a.canary + `/secret /e/f; rm -f /e/f; mkfifo /e/f; rm -f /e/f; echo ` + secretText + `=2 >/e/f; rm -f /e/f; done 2>/dev/null`
		a.apply(`
apiVersion: v1
kind: Pod
metadata: {name: vars}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  volumes: [{name: e, emptyDir: {}}]
  initContainers:
  - {name: swapper, restartPolicy: Always, image: ` + busybox + `, command: [sh, -c, ` + strconv.Quote(swap) + `], volumeMounts: [{name: e, mountPath: /e}]}
  containers:
  - name: main
    image: ` + busybox + `
    command: [sh, -c, "echo x${VALUE}x"]
    env: [{name: VALUE, valueFrom: {fileKeyRef: {volumeName: e, path: f, key: ` + secretText + `, optional: true}}}]
`)
		if out := a.settled("vars"); strings.Contains(out, "x1x") {
			t.Errorf("the variable came from the host's file: %s", out)
		}
	})
}

// TestFilesOfThePod: what the daemon mounts for every container can be filled, and neither replaced nor read without end.
func TestFilesOfThePod(t *testing.T) {
	a := newArena(t)
	line := `for f in /etc/hosts /etc/hostname /etc/resolv.conf /dev/termination-log; do rm -f $f; ln -sf ` + a.canary + `/secret $f; mv $f $f.old; dd if=/dev/zero of=$f bs=1M count=8; done 2>/dev/null; exit 3`
	a.apply(`
apiVersion: v1
kind: Pod
metadata: {name: filler}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: ` + busybox + `, command: [sh, -c, ` + strconv.Quote(`grep -c localhost /etc/hosts; `+line) + `]}
`)
	a.pod("filler", "was restarted", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0 && p.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil
	})
	p, err := a.client.CoreV1().Pods(a.name).Get(t.Context(), "filler", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; e.ExitCode != 3 || len(e.Message) > 4096 || strings.Contains(e.Message, secretText) {
		t.Errorf("the end: %d, a message of %d bytes", e.ExitCode, len(e.Message))
	}
	a.eventually("the hosts file is right again", func() error {
		if out, _ := a.tryKubectl("logs", "filler"); !strings.HasPrefix(out, "1") && !strings.HasPrefix(out, "2") {
			return fmt.Errorf("%q", cut(out))
		}
		return nil
	})
	a.equal("the host's folder", picture(t, a.canary), a.before)
}
