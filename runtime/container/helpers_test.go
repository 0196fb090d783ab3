package container

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// plainSnapshots makes root filesystems with busybox: a writable folder per container, no overlay.
type plainSnapshots struct{ dir string }

var applets = []string{"sh", "cat", "echo", "sleep", "id", "ls", "true", "false", "kill", "ps", "dd", "hostname", "mount",
	"touch", "head", "yes", "stty", "tty", "wc", "sysctl", "mkdir", "chown", "rm", "trap", "seq", "printf", "env", "pwd", "tail", "usleep", "unshare", "grep", "ip", "test", "tr", "["}

func (p plainSnapshots) Prepare(_ context.Context, id, image string, users *Users) (string, error) {
	root := filepath.Join(p.dir, id, "rootfs")
	if exists(root) {
		return root, nil
	}
	if image == "missing" {
		return "", fmt.Errorf("image %s is not here", image)
	}
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777); err != nil {
		return "", err
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755); err != nil {
		return "", err
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", a)); err != nil {
			return "", err
		}
	}
	if users != nil {
		return root, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(users.Base), int(users.Base)))
		})
	}
	return root, nil
}

func (p plainSnapshots) Volumes(_ context.Context, id string, paths []string) (map[string]string, error) {
	out := map[string]string{}
	for i, path := range paths {
		out[path] = filepath.Join(p.dir, id, "volumes", fmt.Sprint(i))
		if err := os.MkdirAll(out[path], 0o755); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p plainSnapshots) Remove(_ context.Context, id string) error {
	return os.RemoveAll(filepath.Join(p.dir, id))
}

// bed is a manager in directories and a cgroup of its own.
type bed struct {
	*Manager
	tb   testing.TB
	cfg  Config
	stop func()
}

func requireRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it makes namespaces and cgroups")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		tb.Skip("needs /bin/busybox (package busybox-static) for root filesystems")
	}
}

func testConfig(tb testing.TB) Config {
	var r [4]byte
	_, _ = rand.Read(r[:])
	dir := tb.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // as the agent's: root of a user namespace passes them as nobody
		if err := os.Chmod(d, 0o711); err != nil {
			tb.Fatal(err)
		}
	}
	level := slog.LevelWarn
	return Config{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		CgroupRoot: "skiff-test-" + hex.EncodeToString(r[:]), Snapshots: plainSnapshots{filepath.Join(dir, "snapshots")},
		Executable: os.Getenv("SKIFF_TEST_EXECUTABLE"), // another executable for keepers and creators: the product, to measure it
		Logger:     slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: level})),
	}
}

func newBed(tb testing.TB) *bed {
	requireRoot(tb)
	b := &bed{tb: tb, cfg: testConfig(tb)}
	b.open()
	tb.Cleanup(b.clean)
	return b
}

// open opens the manager and runs it.
func (b *bed) open() {
	b.tb.Helper()
	m, err := Open(b.cfg)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.Manager = m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			b.tb.Error(err)
		}
	}()
	go func() {
		for {
			select {
			case <-m.Events():
			case <-done:
				return
			}
		}
	}()
	b.stop = func() { cancel(); <-done }
}

func (b *bed) clean() {
	for _, s := range b.List() {
		if err := b.RemoveSandbox(context.Background(), s.Spec.ID); err != nil {
			b.tb.Error(err)
		}
	}
	b.stop()
	b.exe.Close()
	removeCgroupRoot(b.tb, b.cfg.CgroupRoot)
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), b.cfg.RunDir) {
		b.tb.Error("mounts are left behind")
	}
}

func removeCgroupRoot(tb testing.TB, root string) {
	cm, err := newCgroup("/"+root, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		tb.Error(err)
		return
	}
	if pids, err := cgroups.GetAllPids(killDir(cm.GetPaths())); err == nil && len(pids) > 0 {
		tb.Errorf("processes are left behind: %v", pids)
	}
	if err := killCgroup(cm.GetPaths(), 5*time.Second); err != nil {
		tb.Error(err)
	}
	if err := cm.Destroy(); err != nil {
		tb.Error(err)
	}
}

func (b *bed) sandbox(id string, change ...func(*SandboxSpec)) Sandbox {
	b.tb.Helper()
	spec := SandboxSpec{ID: id, Hostname: "test-" + id, Cgroup: "kubepods/besteffort/pod" + id}
	for _, f := range change {
		f(&spec)
	}
	s, err := b.CreateSandbox(context.Background(), spec)
	if err != nil {
		b.tb.Fatal(err)
	}
	return s
}

// shell is a container that runs a script.
func (b *bed) shell(id, script string) ContainerSpec {
	return ContainerSpec{ID: id, Name: id, ImageID: "busybox", Args: []string{"sh", "-c", script},
		LogPath: filepath.Join(b.cfg.StateDir, "logs", id+".log"), Capabilities: []string{"CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"}}
}

func (b *bed) start(sandbox string, spec ContainerSpec) Container {
	b.tb.Helper()
	c, err := b.Start(context.Background(), sandbox, spec)
	if err != nil {
		b.tb.Fatal(err)
	}
	return c
}

func (b *bed) wait(id string) Container {
	b.tb.Helper()
	c, err := b.container(id)
	if err != nil {
		b.tb.Fatal(err)
	}
	select {
	case <-c.exited:
	case <-time.After(2 * time.Minute):
		b.tb.Fatalf("container %s has not exited", id)
	}
	info, _ := b.Container(id)
	return info
}

// output runs a script in a container to its end and returns what it wrote.
func (b *bed) output(sandbox string, spec ContainerSpec) string {
	b.tb.Helper()
	b.start(sandbox, spec)
	if c := b.wait(spec.ID); c.ExitCode != 0 {
		b.tb.Errorf("container %s: exit code %d, output %q", spec.ID, c.ExitCode, b.logText(spec.ID))
	}
	return b.logText(spec.ID)
}

// logText is the log without the CRI prefixes.
func (b *bed) logText(id string) string {
	raw, err := os.ReadFile(filepath.Join(b.cfg.StateDir, "logs", id+".log"))
	if err != nil {
		b.tb.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(raw)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 {
			b.tb.Fatalf("bad log line %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			b.tb.Fatal(err)
		}
		if f[2] == "P" {
			f[3] = strings.TrimSuffix(f[3], "\n")
		}
		out.WriteString(f[3])
	}
	return out.String()
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("never: " + what)
		}
	}
}

func mountTmpfs(path, data string) error {
	return unix.Mount("tmpfs", path, "tmpfs", 0, data)
}

func readFile(tb testing.TB, pid int, name string) string {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
