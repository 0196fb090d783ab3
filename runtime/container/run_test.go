package container

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// Run must end all that it started, with containers running, and an idle manager and keeper must not wake up.
func TestRunEndsAndIdles(t *testing.T) {
	b := newBed(t)
	b.stop()
	ignore := goleak.IgnoreCurrent()
	b.open()
	s := b.sandbox("a")
	b.start("a", b.shell("c", "exec sleep 1000"))
	b.start("a", b.shell("d", "true"))
	b.wait("d")
	time.Sleep(100 * time.Millisecond)
	before := switches(t, s.KeeperPID)
	time.Sleep(time.Second)
	if after := switches(t, s.KeeperPID); after != before {
		t.Errorf("an idle keeper woke up: %s, then %s", before, after)
	}
	b.stop()
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
	b.open()
}

func switches(t *testing.T, pid int) string {
	var out []string
	for line := range strings.Lines(readFile(t, pid, "status")) {
		if strings.Contains(line, "ctxt_switches") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, ", ")
}

func TestEvents(t *testing.T) {
	requireRoot(t)
	b := &bed{tb: t, cfg: testConfig(t)}
	m, err := Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = m
	rctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(rctx) }()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.clean)
	b.sandbox("a")
	b.start("a", b.shell("c", "sleep 0.1; exit 2"))
	for {
		select {
		case e := <-m.Events():
			if c, _ := m.Container("c"); e == (Event{"a", "c"}) && c.State == Exited {
				return
			}
		case <-time.After(time.Minute):
			t.Fatal("no event of the exit")
		}
	}
}

func TestStatsAndUpdate(t *testing.T) {
	b := newBed(t)
	b.sandbox("a", func(s *SandboxSpec) { s.Resources.MemoryLimit = 512 << 20 })
	spec := b.shell("c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000")
	spec.Resources = Resources{MemoryLimit: 64 << 20, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, PIDsLimit: 50}
	b.start("a", spec)
	eventually(t, "it has used something", func() bool {
		st, err := b.ContainerStats("c")
		return err == nil && st.CPUNanos > 1e6 && st.MemoryUsage > 8<<20 && st.PIDs >= 1
	})
	st, err := b.SandboxStats("a")
	if err != nil || st.MemoryUsage < 8<<20 || st.Time.IsZero() {
		t.Errorf("%+v %v", st, err)
	}
	if err := b.UpdateContainer(ctx, "c", Resources{MemoryLimit: 128 << 20, CPUShares: 1024, PIDsLimit: 60}, map[string]string{"size": "128"}); err != nil {
		t.Error(err)
	}
	if err := b.UpdateSandbox(ctx, "a", Resources{MemoryLimit: 256 << 20}); err != nil {
		t.Error(err)
	}
	c, _ := b.Container("c")
	if c.Spec.Resources.PIDsLimit != 60 {
		t.Errorf("%+v", c.Spec.Resources)
	}
	if err := b.Signal(ctx, "c", unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if c := b.wait("c"); c.Signal != 9 {
		t.Errorf("%+v", c)
	}
}

func TestStopSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{"": 15, "SIGTERM": 15, "TERM": 15, "sigquit": 3, "9": 9, "SIGRTMIN+3": 37, "RTMAX-1": 63, "nonsense": 15, "99": 15} {
		if got := stopSignal(name); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}
