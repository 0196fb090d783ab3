package container

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var ctx = context.Background()

func TestLifecycle(t *testing.T) {
	b := newBed(t)
	s := b.sandbox("a")
	if s.State != SandboxReady || s.KeeperPID == 0 || s.NetNS == "" {
		t.Fatalf("sandbox %+v", s)
	}
	c := b.start("a", b.shell("c1", "echo hello; echo oops >&2; hostname; exit 7"))
	if c.StartedAt.IsZero() {
		t.Error("no start time")
	}
	c = b.wait("c1")
	if c.State != Exited || c.ExitCode != 7 || c.Signal != 0 || c.PID != 0 || c.FinishedAt.Before(c.StartedAt) {
		t.Errorf("container %+v", c)
	}
	raw, _ := os.ReadFile(c.Spec.LogPath)
	for _, want := range []string{" stdout F hello\n", " stderr F oops\n", " stdout F test-a\n"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("log lacks %q: %s", want, raw)
		}
	}
	if err := b.Remove(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if err := b.Remove(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if exists(b.cfg.Snapshots.(plainSnapshots).dir + "/c1") {
		t.Error("root filesystem is left behind")
	}
	if err := b.StopSandbox(ctx, "a"); err != nil {
		t.Error(err)
	}
	if s, _ := b.Sandbox("a"); s.State != SandboxStopped || s.KeeperPID != 0 {
		t.Errorf("sandbox %+v", s)
	}
	for range 2 {
		if err := b.RemoveSandbox(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
	if len(b.List()) != 0 {
		t.Error("sandbox is left behind")
	}
}

func TestStop(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("polite", "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done"))
	b.start("a", b.shell("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))
	eventually(t, "deaf is ready", func() bool { return b.logText("deaf") != "" })
	time.Sleep(50 * time.Millisecond)
	if err := b.Stop(ctx, "polite", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if c := b.wait("polite"); c.ExitCode != 3 || b.logText("polite") != "bye\n" {
		t.Errorf("exit code %d, log %q", c.ExitCode, b.logText("polite"))
	}
	begin := time.Now()
	if err := b.Stop(ctx, "deaf", 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 300*time.Millisecond || d > time.Minute {
		t.Errorf("stopped after %v", d)
	}
	if c := b.wait("deaf"); c.ExitCode != 137 || c.Signal != int(unix.SIGKILL) {
		t.Errorf("container %+v", c)
	}
	if err := b.Stop(ctx, "deaf", time.Second); err != nil {
		t.Error(err)
	}
}

func TestCannotStart(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	for name, c := range map[string]struct {
		change func(*ContainerSpec)
		want   string
	}{
		"no-command": {func(s *ContainerSpec) { s.Args = []string{"frobnicate"} }, `exec: "frobnicate": executable file not found in $PATH`},
		"no-file":    {func(s *ContainerSpec) { s.Args = []string{"/nope"} }, `exec: "/nope": stat /nope: no such file or directory`},
		"directory":  {func(s *ContainerSpec) { s.Args = []string{"/tmp"} }, `exec: "/tmp": is a directory`},
		"no-args":    {func(s *ContainerSpec) { s.Args = nil }, `no command`},
		"no-mount":   {func(s *ContainerSpec) { s.Mounts = []Mount{{Source: "/nowhere", Destination: "/x"}} }, `/nowhere`},
		"no-image":   {func(s *ContainerSpec) { s.ImageID = "missing" }, `image missing is not here`},
		"no-device":  {func(s *ContainerSpec) { s.Devices = []Device{{HostPath: "/dev/nope"}} }, `/dev/nope`},
	} {
		spec := b.shell(name, "true")
		c.change(&spec)
		got, err := b.Start(ctx, "a", spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		if got.State != Exited || got.ExitCode != 128 || !strings.Contains(got.Message, c.want) {
			t.Errorf("%s: %s, code %d, message %q", name, got.State, got.ExitCode, got.Message)
		}
		if err := b.Remove(ctx, name); err != nil {
			t.Error(err)
		}
	}
}

// TestStopAsksOnce stops a container again with less patience: it hears its stop signal once.
func TestStopAsksOnce(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"))
	eventually(t, "it is ready", func() bool { return b.logText("c") != "" })
	patient, impatient := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.Stop(patient, "c", time.Hour) }()
	eventually(t, "it is asked", func() bool { return strings.Contains(b.logText("c"), "asked") })
	impatient()
	if err := <-done; err == nil {
		t.Error("a stop that was given up says that it stopped")
	}
	if err := b.Stop(ctx, "c", 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if b.wait("c"); b.logText("c") != "ready\nasked\n" {
		t.Errorf("log %q", b.logText("c"))
	}
}
