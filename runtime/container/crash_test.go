package container

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

// TestMain is also the daemon that crash tests kill.
func TestMain(m *testing.M) {
	if raw := os.Getenv("SKIFF_TEST_LIFE"); raw != "" {
		testLife(raw)
		os.Exit(0)
	}
	if raw := os.Getenv("SKIFF_TEST_DAEMON"); raw != "" {
		testDaemon(raw)
	}
	os.Exit(m.Run())
}

// daemonJob is what the daemon under test does: open, make what is missing, say "ready", live on.
type daemonJob struct {
	StateDir, RunDir, CgroupRoot, Snapshots string
	Sandbox                                 SandboxSpec
	Containers                              []ContainerSpec
	Loop                                    bool // make and remove sandboxes for ever
}

func testDaemon(raw string) {
	var job daemonJob
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	check(json.Unmarshal([]byte(raw), &job))
	m, err := Open(Config{StateDir: job.StateDir, RunDir: job.RunDir, CgroupRoot: job.CgroupRoot, Snapshots: plainSnapshots{job.Snapshots}})
	check(err)
	go m.Run(ctx)
	for i := 0; ; i++ {
		s, c := job.Sandbox, job.Containers
		if job.Loop {
			s.ID = fmt.Sprint("loop", os.Getpid(), "-", i)
			s.Cgroup = s.ID
		}
		if _, ok := m.Sandbox(s.ID); !ok {
			_, err := m.CreateSandbox(ctx, s)
			check(err)
		}
		for _, spec := range c {
			if job.Loop {
				spec.ID = s.ID + spec.ID
			}
			if _, ok := m.Container(spec.ID); !ok {
				_, err := m.Start(ctx, s.ID, spec)
				check(err)
			}
		}
		if !job.Loop {
			break
		}
		check(m.RemoveSandbox(ctx, s.ID))
	}
	fmt.Println("ready")
	select {}
}

func (b *bed) daemon(job daemonJob) *exec.Cmd {
	b.tb.Helper()
	job.StateDir, job.RunDir, job.CgroupRoot = b.cfg.StateDir, b.cfg.RunDir, b.cfg.CgroupRoot
	job.Snapshots = b.cfg.Snapshots.(plainSnapshots).dir
	raw, _ := json.Marshal(job)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SKIFF_TEST_DAEMON="+string(raw))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.tb.Fatal(err)
	}
	if !job.Loop {
		line, _ := bufio.NewReader(out).ReadString('\n')
		if line != "ready\n" {
			b.tb.Fatalf("daemon: %s", line)
		}
	}
	return cmd
}

func kill9(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func newCrashBed(t *testing.T) *bed {
	requireRoot(t)
	return &bed{tb: t, cfg: testConfig(t)}
}

func TestDaemonIsKilled(t *testing.T) {
	b := newCrashBed(t)
	job := daemonJob{Sandbox: SandboxSpec{ID: "a", Hostname: "a", Cgroup: "pods/a", Labels: map[string]string{"k": "v"}},
		Containers: []ContainerSpec{
			b.shell("long", "i=0; while :; do i=$((i+1)); echo $i; usleep 1000; done"),
			b.shell("short", "sleep 0.3; echo last words; exit 33"),
			b.shell("done", "exit 44"),
		}}
	cmd := b.daemon(job)
	time.Sleep(50 * time.Millisecond)
	kill9(cmd)
	time.Sleep(600 * time.Millisecond) // short ends while nobody looks

	b.open()
	t.Cleanup(b.clean)
	s, ok := b.Sandbox("a")
	if !ok || s.State != SandboxReady || s.Spec.Labels["k"] != "v" || len(s.Containers) != 3 || !alive(s.KeeperPID) {
		t.Fatalf("%+v", s)
	}
	long, _ := b.Container("long")
	if long.State != Running || !alive(long.PID) {
		t.Errorf("long: %+v", long)
	}
	for id, code := range map[string]int{"short": 33, "done": 44} {
		if c, _ := b.Container(id); c.State != Exited || c.ExitCode != code || c.FinishedAt.IsZero() || c.StartedAt.IsZero() || c.Message != "" {
			t.Errorf("%s: %+v", id, c)
		}
	}
	if b.logText("short") != "last words\n" {
		t.Error("log lines are lost")
	}
	// All works as if nothing had been.
	if code, out, _, err := b.run("long", script("echo hi")); code != 0 || out != "hi\n" || err != nil {
		t.Errorf("%d %q %v", code, out, err)
	}
	if got := b.output("a", b.shell("new", "echo new")); got != "new\n" {
		t.Errorf("%q", got)
	}
	if err := b.Stop(ctx, "long", 0); err != nil {
		t.Error(err)
	}
	for i, line := range strings.Fields(b.logText("long")) {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

// Killed at random moments of making and removing sandboxes; the next one must always clean up.
func TestDaemonIsKilledAnywhere(t *testing.T) {
	b := newCrashBed(t)
	job := daemonJob{Loop: true, Sandbox: SandboxSpec{Hostname: "x"}, Containers: []ContainerSpec{b.shell("c", "exec sleep 1000")}}
	for range 12 {
		cmd := b.daemon(job)
		time.Sleep(30*time.Millisecond + time.Duration(rand.IntN(200))*time.Millisecond)
		kill9(cmd)
	}
	b.open()
	t.Cleanup(b.clean)
	for _, s := range b.List() {
		for _, c := range s.Containers {
			eventually(t, "no container is being created", func() bool { c, _ = b.Container(c.Spec.ID); return c.State != Created })
			if c.State == Running && !alive(c.PID) {
				t.Errorf("%+v", c)
			}
		}
		if err := b.RemoveSandbox(ctx, s.Spec.ID); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{b.cfg.RunDir + "/sandboxes", b.cfg.StateDir + "/sandboxes", b.factoryRoot(), b.cfg.Snapshots.(plainSnapshots).dir} {
		eventually(t, dir+" is empty", func() bool { entries, _ := os.ReadDir(dir); return len(entries) == 0 })
	}
}

func TestKeeperIsKilled(t *testing.T) {
	b := newBed(t)
	for _, shared := range []bool{false, true} {
		id := fmt.Sprint("a", shared)
		s := b.sandbox(id, func(s *SandboxSpec) { s.SharedPID = shared })
		c := b.start(id, b.shell("c"+id, "sleep 500 & sleep 1000"))
		done := b.start(id, b.shell("d"+id, "exit 12"))
		b.wait(done.Spec.ID)
		if err := unix.Kill(s.KeeperPID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the sandbox is stopped", func() bool { s, _ := b.Sandbox(id); return s.State == SandboxStopped })
		eventually(t, "the container is dead", func() bool { return !alive(c.PID) })
		if got := b.wait(c.Spec.ID); got.ExitCode != 137 || got.State != Exited {
			t.Errorf("%+v", got)
		}
		if got, _ := b.Container(done.Spec.ID); got.ExitCode != 12 {
			t.Errorf("%+v", got)
		}
		if _, err := b.Start(ctx, id, b.shell("e"+id, "true")); err == nil || !strings.Contains(err.Error(), "is stopped") {
			t.Error(err)
		}
	}
}

func TestKeeperAndDaemonAreKilled(t *testing.T) {
	b := newCrashBed(t)
	job := daemonJob{Sandbox: SandboxSpec{ID: "a", Hostname: "a", Cgroup: "pods/a"}, Containers: []ContainerSpec{b.shell("c", "exec sleep 1000"), b.shell("d", "exit 3")}}
	cmd := b.daemon(job)
	client, items, err := keeper.Dial(filepath.Join(b.cfg.RunDir, "sandboxes/a"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	kill9(cmd)
	_ = unix.Kill(client.PID, unix.SIGKILL)
	client.Close()
	pid := 0
	for _, i := range items {
		if i.ID == "c" {
			pid = i.PID
		}
	}
	b.open()
	t.Cleanup(b.clean)
	if s, ok := b.Sandbox("a"); !ok || s.State != SandboxStopped {
		t.Errorf("%+v", s)
	}
	if got, _ := b.Container("c"); got.State != Exited || got.ExitCode != unknownExit || got.Message == "" {
		t.Errorf("%+v", got)
	}
	eventually(t, "the container is dead", func() bool { return pid > 0 && !alive(pid) })
	if got, _ := b.Container("d"); got.ExitCode != 3 {
		t.Errorf("%+v", got)
	}
}

// A reboot takes the run directory, the processes and the mounts, and may damage what was being written.
func TestReboot(t *testing.T) {
	b := newBed(t)
	for _, id := range []string{"a", "b"} {
		b.sandbox(id)
		b.start(id, b.shell("c"+id, "exec sleep 1000"))
	}
	b.stop()
	for _, id := range []string{"a", "b"} { // what a reboot does
		s, _ := b.Sandbox(id)
		cm, _ := newCgroup(b.cgroupPath(s.Spec, ""), resources(Resources{}, false))
		_ = killCgroup(cm.GetPaths(), time.Second)
		_ = unix.Kill(s.KeeperPID, unix.SIGKILL)
		_ = unmountAll(b.netnsPath(id))
		_ = unmountAll(b.shmPath(id))
	}
	if err := os.RemoveAll(b.cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.sandboxFile("b"), nil, 0o600); err != nil { // a power cut's favourite
		t.Fatal(err)
	}
	b.open()
	s, ok := b.Sandbox("a")
	if !ok || s.State != SandboxStopped || s.KeeperPID != 0 {
		t.Errorf("%+v", s)
	}
	if c, _ := b.Container("ca"); c.State != Exited || c.ExitCode != 255 || !strings.Contains(c.Message, "restarted") {
		t.Errorf("%+v", c)
	}
	if _, ok := b.Sandbox("b"); ok {
		t.Error("a damaged sandbox is listed")
	}
	if exists(filepath.Join(b.cfg.Snapshots.(plainSnapshots).dir, "cb")) {
		t.Error("its root filesystem is left behind")
	}
	if !exists(b.cfg.Snapshots.(plainSnapshots).dir + "/ca") {
		t.Error("the stopped container's root filesystem is gone")
	}
}

// A record damaged while the sandbox runs is repaired.
func TestDamagedWhileRunning(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("c", "exec sleep 1000"))
	b.start("a", b.shell("lost", "exec sleep 1000"))
	lost, _ := b.Container("lost")
	b.stop()
	os.WriteFile(b.sandboxFile("a"), []byte("{"), 0o600)
	os.WriteFile(b.containerFile("a", "lost"), []byte{0}, 0o600)
	b.open()
	if s, ok := b.Sandbox("a"); !ok || s.State != SandboxReady || len(s.Containers) != 1 {
		t.Errorf("%+v", s)
	}
	if code, _, _, err := b.run("c", script("true")); code != 0 || err != nil {
		t.Error(code, err)
	}
	eventually(t, "the container without a record is dead", func() bool { return !alive(lost.PID) })
}
