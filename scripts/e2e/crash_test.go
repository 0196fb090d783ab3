package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// processes of a pod: its keeper and its containers' processes.
func (s *space) processes(pod string) (keeper int, others []int) {
	s.Helper()
	uid := s.get("pod/"+pod, ".metadata.uid")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		switch {
		case strings.HasPrefix(string(args), "skiff\x00keeper") && strings.Contains(string(args), uid):
			keeper = pid
		case strings.Contains(string(cgroup), "pod"+uid) && !strings.HasPrefix(string(args), "skiff"):
			others = append(others, pid)
		}
	}
	if keeper == 0 || len(others) == 0 {
		s.Fatalf("pod %s: keeper %d, processes %v", pod, keeper, others)
	}
	return keeper, others
}

// shellOf is the process of the shell that a pod's container runs.
func (s *space) shellOf(pod string) int {
	s.Helper()
	_, others := s.processes(pod)
	for _, pid := range others {
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(args), "sh\x00") {
			return pid
		}
	}
	s.Fatalf("pod %s: no shell among %v", pod, others)
	return 0
}

func always(manifest string) string {
	return strings.ReplaceAll(manifest, "restartPolicy: Never", "restartPolicy: Always")
}

func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) == 0 {
		return -1
	}
	return p.Status.ContainerStatuses[0].RestartCount
}

// TestKillContainer: kill -9 of a container's process is one restart; kill -9 of the keeper costs its pod a restart and no other pod anything.
func TestKillContainer(t *testing.T) {
	s := newSpace(t)
	s.apply(always(shell("a", "echo run; exec sleep 1000") + shell("b", "exec sleep 1000") + shell("c", "exec sleep 1000")))
	s.ready("a", "b", "c")
	_, others := s.processes("a")
	if err := syscall.Kill(others[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p := s.pod("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last state %+v", last)
	}
	s.equal("previous log", s.kubectl("logs", "a", "--previous"), "run")

	keeper, _ := s.processes("b")
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.pod("b", "back after its keeper was killed", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	s.equal("works", s.sh("b", "echo yes"), "yes")
	s.equal("the neighbour", s.get("pod/c", ".status.containerStatuses[0].restartCount"), "0")
}

// TestDaemonKilled: pods and Services live through kill -9 of the daemon, no line of a log and no exit code is lost, data stay.
func TestDaemonKilled(t *testing.T) {
	s := own(t)
	s.apply(deployment("web", 2) + shell("counter", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done") + shell("ends", "trap 'exit 9' TERM; sleep 1000000 & wait") +
		shell("starts", "sleep 1; echo done"))
	s.kubectl("expose", "deployment", "web", "--port=80", "--target-port=http")
	s.kubectl("create", "configmap", "kept", "--from-literal=a=b")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.ready("counter", "ends")
	s.pod("starts", "started", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].ContainerID != ""
	})
	ending := s.shellOf("ends")
	ids := s.get("pods", ".items[*].status.containerStatuses[*].containerID")
	ip := s.get("service/web", ".spec.clusterIP")

	s.eventually("the Service answers", func() error { _, err := s.curl("http://" + ip); return err })

	for round := range 3 {
		if err := s.node.Kill(); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // a container ends while there is no daemon
			if err := syscall.Kill(ending, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := s.curl("http://" + ip); err != nil {
			t.Errorf("the Service while the daemon is dead: %s %v", out, err)
		}
		if err := s.node.Start("server"); err != nil {
			t.Fatal(err)
		}
		if err := s.node.WaitReady(patience, "n1"); err != nil {
			t.Fatal(err)
		}
	}
	p := s.ended("ends")
	s.terminated(p, 9, "Error")
	s.equal("restarts", s.get("pods", ".items[*].status.containerStatuses[*].restartCount"), "0 0 0 0 0")
	s.equal("containers", s.get("pods", ".items[*].status.containerStatuses[*].containerID"), ids)
	s.equal("data", s.get("configmap/kept", ".data.a"), "b")
	for i, line := range strings.Split(s.logs("counter"), "\n") {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
	s.equal("exec after it", s.sh("counter", "echo yes"), "yes")
	s.kubectl("scale", "deployment/web", "--replicas=3")
	s.kubectl("rollout", "status", "deployment/web", inTime)
}

// TestStoppedPolitely: SIGTERM ends the daemon soon and with status 0, also while clients watch and follow; pods go on.
func TestStoppedPolitely(t *testing.T) {
	s := own(t)
	s.apply(shell("a", "while :; do echo tick; sleep 0.2; done"))
	s.ready("a")
	follow, _ := s.start("logs", "-f", "a")
	s.start("get", "pods", "-w")
	s.saysInTime(follow, "tick")
	start := time.Now()
	if err := s.node.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v to end", took)
	}
	if code := s.node.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if err := s.node.Start("server"); err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitReady(patience, "n1"); err != nil {
		t.Fatal(err)
	}
	s.ready("a")
	s.equal("restarts", s.get("pod/a", ".status.containerStatuses[0].restartCount"), "0")
}

// TestWriteStorm: kill -9 during writes loses none that was acknowledged.
func TestWriteStorm(t *testing.T) {
	s := own(t)
	const writers = 8
	acknowledged := make([]int, writers)
	enough := make(chan struct{})
	var total atomic.Int64
	done := make(chan struct{})
	for w := range writers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := 1; ; i++ {
				if !s.write(fmt.Sprintf("w%d", w), i) {
					return
				}
				acknowledged[w] = i
				if total.Add(1) == 500 {
					close(enough)
				}
			}
		}()
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Fatalf("only %d writes in %v", total.Load(), patience)
	}
	if err := s.node.Kill(); err != nil {
		t.Fatal(err)
	}
	for range writers {
		<-done
	}
	if err := s.node.Start("server"); err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitReady(patience, "n1"); err != nil {
		t.Fatal(err)
	}
	for w, want := range acknowledged {
		have, _ := strconv.Atoi(s.get(fmt.Sprintf("configmap/w%d", w), ".data.n"))
		if have < want {
			t.Errorf("writer %d: %d was acknowledged, %d is there", w, want, have)
		}
	}
	t.Logf("%d acknowledged writes", total.Load())
}
