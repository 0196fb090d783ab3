package keeper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func spawn(t *testing.T, s Spec) (Spawned, string) {
	t.Helper()
	s.ID, s.Executable, s.Dir = "test", "/proc/self/exe", t.TempDir()
	k, err := Spawn(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Process.Kill(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return k, s.Dir
}

// Whatever comes over the socket, the keeper lives and answers the next one.
func TestHostileMessages(t *testing.T) {
	k, dir := spawn(t, Spec{})
	verbs := []string{"HELLO", "WATCH", "START", "KILL", "REOPEN", "FORGET", "ATTACH", "", "nonsense", strings.Repeat("x", 5000)}
	seed := rand.NewPCG(1, 2)
	r := rand.New(seed)
	for i := range 3000 {
		conn, err := dial(dir)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		for range 1 + r.IntN(4) {
			fields := []string{fmt.Sprint(r.Uint64()), verbs[r.IntN(len(verbs))]}
			for range r.IntN(20) {
				b := make([]byte, r.IntN(300))
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				fields = append(fields, string(b))
			}
			msg := strings.Join(fields, "\x00")
			if r.IntN(10) == 0 {
				msg = strings.Repeat(msg, 1+r.IntN(100)) // may be longer than it reads
			}
			if _, err := conn.Write([]byte(msg)); err != nil {
				break
			}
		}
		conn.Close()
	}
	c, items, err := Dial(dir)
	if err != nil || c.PID != k.PID || c.Protocol != 1 || len(items) != 0 {
		t.Fatalf("%+v %v %v", c, items, err)
	}
	c.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // it may have connections left to close
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.PID))
		if err == nil && len(fds) <= 16 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the keeper has %d open files, %v", len(fds), err)
		}
	}
}

func TestErrors(t *testing.T) {
	_, dir := spawn(t, Spec{})
	c, _, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); c.Serve(func(Event) {}) }()
	ctx := context.Background()
	for what, err := range map[string]error{
		"signal": c.Signal(ctx, "nobody", 9), "forget": c.Forget(ctx, "nobody"), "reopen": c.Reopen(ctx, "nobody"),
		"attach": Attach(ctx, dir, "nobody", Streams{}),
	} {
		if err == nil || err.Error() != "no such container" {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.Close()
	<-done
	if err := c.Signal(ctx, "nobody", 9); err == nil {
		t.Error("no error without connection")
	}
}

func TestSpawnFails(t *testing.T) {
	_, err := Spawn(Spec{ID: "x", Executable: "/proc/self/exe", Dir: t.TempDir(), Join: []string{"/nowhere"}})
	if err == nil || !strings.Contains(err.Error(), "join cgroup /nowhere: No such file or directory") {
		t.Error(err)
	}
	if _, err := Spawn(Spec{ID: "x", Executable: "/nowhere", Dir: t.TempDir()}); err == nil {
		t.Error("no error")
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":              "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eno2.100/rp_filter": "/proc/sys/net/ipv4/conf/eno2.100/rp_filter",
		"net.ipv4.conf.eno2/100.rp_filter": "/proc/sys/net/ipv4/conf/eno2.100/rp_filter",
		"../../etc/passwd":                 "/proc/sys/etc/passwd",
	} {
		if got := SysctlPath(name); !strings.HasPrefix(got, "/proc/sys/") || (got != want && !strings.HasPrefix(name, "..")) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func FuzzItem(f *testing.F) {
	f.Add("c\x00running\x001\x002\x003\x004.000000005\x006.7", "137 9 1.000000002\n")
	f.Fuzz(func(t *testing.T, item, exit string) {
		_ = parseItem(strings.Split(item, "\x00"))
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "exit.c"), []byte(exit), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, _, _ = ReadExit(dir, "c")
	})
}
