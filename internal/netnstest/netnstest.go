// Package netnstest gives tests network namespaces of their own, so that they never touch the machine's links, routes and
// rules. Enter runs a test again in a fresh process inside fresh network and mount namespaces; New makes further
// namespaces beside it. All of them vanish with the process, whatever happens to it.
package netnstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const inside = "SKIFF_NETNSTEST_INSIDE"

// Enter returns true inside the namespaces. Outside it runs the test there, reports how it went, and returns false: the
// caller returns. It skips the test when not root.
func Enter(t testing.TB) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatalf("make mounts private: %v", err)
		}
		run(t, "ip", "link", "set", "lo", "up")
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	args := []string{"-test.run=^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$", "-test.v", "-test.count=1"}
	if _, bench := t.(*testing.B); bench {
		args = []string{"-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.benchmem"}
	}
	for _, arg := range os.Args[1:] {
		if strings.HasPrefix(arg, "-test.benchtime") || strings.HasPrefix(arg, "-test.cpuprofile") || arg == "-update" {
			args = append(args, arg)
		}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	switch text := string(out); {
	case err != nil:
		t.Errorf("in its own network namespace: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP"):
		t.Skip(text)
	default:
		t.Log(text)
	}
	return false
}

// NS is a network namespace.
type NS struct {
	t testing.TB
	// Path names it for setns, as /run/netns/<name> would.
	Path string
	file *os.File
}

// New makes a namespace. Its loopback is up when lo is wanted by the test: a new one's is down, as a sandbox's is.
func New(t testing.TB, name string) *NS {
	t.Helper()
	ns := &NS{t: t, Path: filepath.Join(t.TempDir(), name)}
	if err := os.WriteFile(ns.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			return unix.Mount(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()), ns.Path, "", unix.MS_BIND, "")
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("make network namespace %s: %v", name, err)
	}
	file, err := os.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	ns.file = file
	t.Cleanup(ns.Close)
	return ns
}

// Close unmounts the namespace's name; it goes when nothing is left in it.
func (ns *NS) Close() {
	ns.file.Close()
	unix.Unmount(ns.Path, unix.MNT_DETACH)
}

// Do runs f on a thread inside the namespace. Sockets that f makes stay in the namespace; goroutines that f starts do not.
func (ns *NS) Do(f func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		ns.t.Fatalf("enter network namespace %s: %v", ns.Path, err)
	}
}

// Run runs a command inside and returns its output, trimmed.
func (ns *NS) Run(name string, args ...string) (string, error) {
	var out []byte
	var err error
	ns.Do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	return strings.TrimSpace(string(out)), err
}

// Must is Run that fails the test on an error.
func (ns *NS) Must(name string, args ...string) string {
	ns.t.Helper()
	out, err := ns.Run(name, args...)
	if err != nil {
		ns.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}
