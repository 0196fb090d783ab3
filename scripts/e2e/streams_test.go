package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// command is kubectl with these arguments.
func (s *space) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + s.node.NetNS(), "--", executable, "kubectl", "--kubeconfig", s.node.Kubeconfig(), "-n", s.name}, args...)...)
}

// start runs kubectl in the background until the test ends.
func (s *space) start(args ...string) (stdout *lockedBuffer, cmd *exec.Cmd) {
	s.Helper()
	cmd = s.command(args...)
	stdout = &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = stdout, stdout
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	return stdout, cmd
}

// saysInTime waits until a text is in what a command printed.
func (s *space) saysInTime(out *lockedBuffer, text string) {
	s.Helper()
	s.eventually(fmt.Sprintf("prints %q", text), func() error {
		if have := out.String(); !strings.Contains(have, text) {
			return fmt.Errorf("it printed %q", have)
		}
		return nil
	})
}

// matchesInTime waits until what a command printed matches.
func (s *space) matchesInTime(out *lockedBuffer, expression string) {
	s.Helper()
	want := regexp.MustCompile(expression)
	s.eventually("prints "+expression, func() error {
		if have := out.String(); !want.MatchString(have) {
			return fmt.Errorf("it printed %q", have)
		}
		return nil
	})
}

func TestLogs(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("count", "i=1; while [ $i -le 20 ]; do echo line $i; i=$((i+1)); done; echo to stderr >&2; until [ -e /tmp/go ]; do sleep 0.1; done; echo later; "+sleeper) +
		strings.ReplaceAll(shell("crash", "echo try; sleep 1; exit 3"), "restartPolicy: Never", "restartPolicy: Always"))
	s.ready("count")
	follow, _ := s.start("logs", "-f", "count")
	s.saysInTime(follow, "line 20")
	all := s.logs("count")
	s.contains("logs", all, "line 1\nline 2\n", "to stderr")
	s.equal("tail", s.kubectl("logs", "count", "--tail=0"), "")
	s.sh("count", "touch /tmp/go")
	s.saysInTime(follow, "later")
	s.equal("tail 1", s.kubectl("logs", "count", "--tail=1"), "later")
	s.equal("limit", s.kubectl("logs", "count", "--limit-bytes=6"), "line 1")
	stamp, _, _ := strings.Cut(s.kubectl("logs", "count", "--timestamps", "--tail=1"), " ")
	s.equal("since the last line", s.kubectl("logs", "count", "--since-time="+stamp), "later")
	s.contains("since", s.kubectl("logs", "count", "--since=1h"), "line 1")
	for line := range strings.Lines(s.kubectl("logs", "count", "--timestamps", "--tail=3")) {
		if !regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z `).MatchString(line) {
			t.Errorf("--timestamps: %q", line)
		}
	}
	s.contains("selector and prefix", s.kubectl("logs", "-l", "app=count", "--prefix", "--tail=1"), "[pod/count/main] later")
	s.refused([]string{"logs", "count", "-c", "none"}, "container none is not valid for pod count")
	s.refused([]string{"logs", "count", "--previous"}, `previous terminated container "main" in pod "count" not found`)

	s.eventually("crashed", func() error {
		if n := s.get("pod/crash", ".status.containerStatuses[0].restartCount"); n == "0" {
			return fmt.Errorf("restartCount %s", n)
		}
		return nil
	})
	s.equal("previous", s.kubectl("logs", "crash", "--previous"), "try")
	s.equal("exit code", s.get("pod/crash", ".status.containerStatuses[0].lastState.terminated.exitCode"), "3")
}

func TestExec(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("a", sleeper))
	s.ready("a")
	s.equal("exec", s.kubectl("exec", "a", "--", "echo", "hello"), "hello")
	out, err := s.input("one\ntwo\n", "exec", "-i", "a", "--", "wc", "-l")
	if err != nil || strings.TrimSpace(out) != "2" {
		t.Errorf("exec -i: %q %v", out, err)
	}
	s.refused([]string{"exec", "a", "--", "sh", "-c", "exit 7"}, "command terminated with exit code 7")
	s.refused([]string{"exec", "a", "--", "nonsense"}, "nonsense")
	s.refused([]string{"exec", "none", "--", "true"}, `pods "none" not found`)
	s.refused([]string{"exec", "a", "-c", "none", "--", "true"}, "container none is not valid for pod a")

	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB there and back
	out, err = s.input(big, "exec", "-i", "a", "--", "cat")
	if err != nil || out != big {
		t.Errorf("cat of %d bytes gave %d: %v", len(big), len(out), err)
	}

	// A terminal: script(1) gives kubectl one, so that it is asked for its size and turned raw.
	line := fmt.Sprintf("%s kubectl --kubeconfig %s -n %s exec -it a -- sh -c 'tty; sleep 1; stty size; read x; echo got $x'", executable, s.node.Kubeconfig(), s.name)
	cmd := exec.Command("nsenter", "--net="+s.node.NetNS(), "--", "script", "-qec", "stty rows 33 cols 77; "+line, "/dev/null")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen lockedBuffer
	cmd.Stdout, cmd.Stderr = &screen, &screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.saysInTime(&screen, "33 77")
	fmt.Fprintln(in, "typed")
	s.saysInTime(&screen, "got typed")
	if err := cmd.Wait(); err != nil {
		t.Errorf("exec -it: %v\n%s", err, screen.String())
	}
	s.contains("tty", screen.String(), "/dev/pts/")
}

func TestCopy(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("a", sleeper))
	s.ready("a")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tree", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("content\n"), 1<<15)
	if err := os.WriteFile(filepath.Join(dir, "tree", "deep", "file"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	s.kubectl("cp", filepath.Join(dir, "tree"), "a:/tmp/tree")
	s.equal("there", s.sh("a", "wc -c < /tmp/tree/deep/file"), fmt.Sprint(len(want)))
	s.kubectl("cp", "a:/tmp/tree/deep/file", filepath.Join(dir, "back"))
	if have, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(have, want) {
		t.Errorf("back: %d bytes, %v", len(have), err)
	}
}

func TestPortForward(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.kubectl("expose", "deployment", "web", "--port=80", "--target-port=http")
	for _, target := range []string{"deployment/web", "service/web"} {
		port := "8080"
		if strings.HasPrefix(target, "service") {
			port = "80"
		}
		out, _ := s.start("port-forward", target, ":"+port)
		s.saysInTime(out, "Forwarding from 127.0.0.1:")
		address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(out.String())
		for range 3 {
			body, err := s.curl("http://" + address)
			if err != nil {
				t.Fatalf("%s: %v\n%s\n%s", target, err, body, out.String())
			}
			s.contains(target, body, "v1 web-")
		}
	}
	out, _ := s.start("port-forward", "deployment/web", ":9999")
	s.saysInTime(out, "Forwarding from 127.0.0.1:")
	_, _ = s.curl("http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(out.String()))
	s.saysInTime(out, "refused")
}

func TestAttach(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("a", "while read x; do echo got $x; done; echo end", "stdin: true") + shell("b", "while :; do echo tick; sleep 1; done"))
	s.ready("a", "b")
	for _, word := range []string{"one", "two"} { // stdinOnce is false: the next client goes on with the same input
		attach, out := s.command("attach", "-i", "a"), &lockedBuffer{}
		attach.Stdout, attach.Stderr = out, out
		in, err := attach.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := attach.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in, word)
		s.saysInTime(out, "got "+word)
		in.Close()
		if err := attach.Wait(); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
	s.equal("its log", s.logs("a"), "got one\ngot two")
	if out, err := s.input("abcd\n", "run", "open", "--image="+busybox, "--restart=Never", "--attach", "--stdin", "--leave-stdin-open",
		"--pod-running-timeout=3m", "--command", "--", "sh", "-c", "cat; echo end"); err != nil || strings.Contains(out, "end") {
		t.Errorf("%q %v", out, err)
	}
	s.eventually("its input is read", func() error {
		if log := s.logs("open"); log != "abcd" {
			return fmt.Errorf("%q", log)
		}
		return nil
	})
	s.equal("it runs on", s.get("pod/open", ".status.phase"), "Running")
	ticks, _ := s.start("attach", "b")
	s.saysInTime(ticks, "tick\ntick")
}

// TestWebSockets: kubectl prefers websockets to SPDY, and says at -v=5 when it has to fall back.
func TestWebSockets(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1) + shell("a", "while read x; do echo got $x; done", "stdin: true"))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.ready("a")
	said := func(what, log string) {
		t.Helper()
		if strings.Contains(log, "fallback") {
			t.Errorf("%s fell back:\n%s", what, cut(log))
		}
	}
	exec, _ := s.start("-v=8", "exec", "a", "--", "echo", "hello")
	s.saysInTime(exec, "\nhello\n")
	s.contains("exec", exec.String(), "v5.channel.k8s.io", "101 Switching Protocols")
	said("exec", exec.String())
	attach, _ := s.start("-v=8", "attach", "a")
	s.saysInTime(attach, "101 Switching Protocols")
	said("attach", attach.String())
	forward, _ := s.start("-v=8", "port-forward", "deployment/web", ":8080")
	s.saysInTime(forward, "Forwarding from 127.0.0.1:")
	body, err := s.curl("http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(forward.String()[strings.Index(forward.String(), "Forwarding from"):]))
	if err != nil {
		t.Fatalf("%v\n%s", err, forward.String())
	}
	s.contains("port-forward", body, "v1 web-")
	s.contains("port-forward", forward.String(), "SPDY/3.1+portforward.k8s.io")
	said("port-forward", forward.String())
}

// TestProxy: kubectl proxy, and the proxy subresources of pods and Services.
func TestProxy(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.kubectl("expose", "deployment", "web", "--port=80", "--target-port=http")
	pod := s.get("pods", ".items[0].metadata.name")
	base := "/api/v1/namespaces/" + s.name
	s.contains("pod", s.kubectl("get", "--raw", base+"/pods/"+pod+":8080/proxy/"), "v1 "+pod)
	s.eventually("service", func() error {
		out, err := s.tryKubectl("get", "--raw", base+"/services/web:80/proxy/")
		if err == nil && !strings.Contains(out, "v1 "+pod) {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	out, _ := s.start("proxy", "--port=0")
	s.saysInTime(out, "Starting to serve on 127.0.0.1:")
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(out.String())
	body, err := s.curl("http://" + address + "/api/v1/nodes/n1/proxy/healthz")
	if err != nil || body != "ok" {
		t.Errorf("node proxy: %q %v", body, err)
	}
}

// TestPlainWatch: a watch through a plain connection is a stream of JSON lines that starts with what is there.
func TestPlainWatch(t *testing.T) {
	s := newSpace(t)
	s.kubectl("create", "configmap", "c")
	out, _ := s.start("get", "--raw", "/api/v1/namespaces/"+s.name+"/configmaps?watch=1&timeoutSeconds=2&allowWatchBookmarks=true")
	s.saysInTime(out, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1"`)
}

// lockedBuffer is a buffer that may be read while a command writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
