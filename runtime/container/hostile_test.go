package container

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
)

func TestLongLinesAndBinary(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	// 16384 exactly, one more, 3 MB without end, bytes of all values, nothing, a last line without newline.
	b.output("a", b.shell("c", `
		head -c 16384 /dev/zero | tr '\0' a 2>/dev/null || head -c 16384 /dev/zero; echo
		head -c 16385 /dev/zero; echo
		head -c 3000000 /dev/zero; echo
		head -c 100000 /dev/urandom > /tmp/r; cat /tmp/r; cat /tmp/r >&2
		echo; echo
		printf end`))
	raw, _ := os.ReadFile(b.cfg.StateDir + "/logs/c.log")
	for line := range bytes.Lines(raw) {
		if len(line) > 16384+len("2016-10-06T00:17:09.669794202Z stdout F \n") {
			t.Errorf("a log line of %d bytes", len(line))
		}
	}
	if !bytes.HasSuffix(raw, []byte(" stdout P end\n")) {
		t.Errorf("last line is %q", raw[max(0, len(raw)-60):])
	}
	var zeros int
	for line := range bytes.Lines(raw) {
		zeros += bytes.Count(line, []byte{0})
	}
	if zeros < 3000000+16385 {
		t.Errorf("%d of 3016385 bytes", zeros)
	}
}

// No line is lost or reordered, whatever the sizes of the writes, over rotations.
func TestLogIsWhole(t *testing.T) {
	requireRoot(t)
	b := &bed{tb: t, cfg: testConfig(t)}
	b.cfg.LogMaxSize, b.cfg.LogMaxFiles = 1<<20, 30
	b.open()
	t.Cleanup(b.clean)
	b.sandbox("a")
	const n = 200_000
	b.start("a", b.shell("c", "seq "+strconv.Itoa(n)))
	b.wait("c")
	var all []string
	for i := 29; i >= 0; i-- {
		path := b.cfg.StateDir + "/logs/c.log"
		if i > 0 {
			path += "." + strconv.Itoa(i)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			all = append(all, strings.TrimSpace(strings.SplitN(line, " ", 4)[3]))
		}
	}
	if len(all) != n {
		t.Fatalf("%d of %d lines", len(all), n)
	}
	for i, v := range all {
		if v != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, v)
		}
	}
	if !exists(b.cfg.StateDir + "/logs/c.log.1") {
		t.Error("the log was not rotated")
	}
}

// A full disk must neither stop the container nor the keeper, and the loss must be told.
func TestFullDisk(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	small := t.TempDir()
	if err := mountTmpfs(small, "size=256k"); err != nil {
		t.Fatal(err)
	}
	defer unmountAll(small)
	spec := b.shell("c", "seq 100000; echo done > /flag; while [ ! -e /go ]; do usleep 10000; done; echo after")
	spec.LogPath = small + "/c.log"
	c := b.start("a", spec)
	root := b.cfg.Snapshots.(plainSnapshots).dir + "/c/rootfs"
	eventually(t, "the container is through", func() bool { return exists(root + "/flag") })
	time.Sleep(300 * time.Millisecond) // the keeper has read all of it
	raw, _ := os.ReadFile(spec.LogPath)
	if len(raw) == 0 || raw[len(raw)-1] != '\n' {
		t.Error("the log ends in the middle of a line")
	}
	if err := os.Truncate(spec.LogPath, 0); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(root+"/go", nil, 0o644)
	if got := b.wait(c.Spec.ID); got.ExitCode != 0 {
		t.Errorf("%+v", got)
	}
	raw, _ = os.ReadFile(spec.LogPath)
	if !strings.Contains(string(raw), "log lines could not be written: No space left on device]\n") || !strings.HasSuffix(string(raw), " stdout F after\n") {
		t.Errorf("log: %q … %q", raw[:min(300, len(raw))], raw[max(0, len(raw)-300):])
	}
}

func TestForkBomb(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "bomb() { bomb | bomb & }; bomb; sleep 1000")
	spec.Resources.PIDsLimit = 64
	b.start("a", spec)
	time.Sleep(300 * time.Millisecond)
	st, err := b.ContainerStats("c")
	if err != nil || st.PIDs > 64 || st.PIDs < 10 {
		t.Errorf("%+v %v", st, err)
	}
	if err := b.Stop(ctx, "c", 0); err != nil {
		t.Fatal(err)
	}
}

func TestOOM(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "exec dd if=/dev/zero of=/dev/null bs=256M")
	spec.Resources.MemoryLimit = 32 << 20
	b.start("a", spec)
	if c := b.wait("c"); c.ExitCode != 137 || !c.OOMKilled {
		t.Errorf("%+v", c)
	}
	spec = b.shell("d", "exit 1")
	spec.Resources.MemoryLimit = 32 << 20
	b.start("a", spec)
	if c := b.wait("d"); c.OOMKilled || c.ExitCode != 1 {
		t.Errorf("%+v", c)
	}
}

// The end of the first process is the end of the container, whatever others hold its output; and closing its output is not.
func TestOutputAndLife(t *testing.T) {
	b := newBed(t)
	for _, mode := range []string{"own", "shared", "host"} {
		b.sandbox(mode, func(s *SandboxSpec) { s.SharedPID, s.HostPID = mode == "shared", mode == "host" })
		begin := time.Now()
		b.start(mode, b.shell(mode+"1", "sleep 777 & echo started; exit 6"))
		if c := b.wait(mode + "1"); c.ExitCode != 6 || time.Since(begin) > time.Minute {
			t.Errorf("%s: %+v", mode, c)
		}
		if out := b.logText(mode + "1"); out != "started\n" {
			t.Errorf("%s: log %q", mode, out)
		}
		cm, _ := b.containerCgroup(SandboxSpec{ID: mode, Cgroup: "kubepods/besteffort/pod" + mode}, mode+"1")
		eventually(t, "nothing is left in the cgroup", func() bool {
			pids, err := cgroups.GetAllPids(killDir(cm.GetPaths()))
			return err != nil || len(pids) == 0
		})
		b.start(mode, b.shell(mode+"2", "exec >/dev/null 2>&1 </dev/null; sleep 0.2; exit 8"))
		if c := b.wait(mode + "2"); c.ExitCode != 8 || c.FinishedAt.Sub(c.StartedAt) < 150*time.Millisecond {
			t.Errorf("%s: %+v", mode, c)
		}
	}
}

// A client that takes nothing must not hold the container for ever.
func TestStuckAttach(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("c", "sleep 0.3; yes "+strings.Repeat("x", 200)+" | head -c 20000000; echo; echo end"))
	stuck := make(chan struct{})
	defer close(stuck)
	go b.Attach(ctx, "c", AttachSpec{Stdout: blocked{stuck}})
	begin := time.Now()
	if c := b.wait("c"); c.ExitCode != 0 || time.Since(begin) > 2*time.Minute {
		t.Errorf("code %d after %v", c.ExitCode, time.Since(begin))
	}
	if out := b.logText("c"); !strings.HasSuffix(out, "end\n") {
		t.Error("log is not whole")
	}
}

type blocked struct{ until chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.until; return len(p), nil }
