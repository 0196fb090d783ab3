package container

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func BenchmarkSandbox(b *testing.B) {
	bd := newBed(b)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("s", i)
		bd.sandbox(id)
		b.StopTimer()
		if err := bd.RemoveSandbox(ctx, id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkStart(b *testing.B) {
	for name, profile := range map[string]string{"": "", "-seccomp": "runtime/default"} {
		b.Run("plain"+name, func(b *testing.B) {
			bd := newBed(b)
			bd.sandbox("a")
			for i := 0; b.Loop(); i++ {
				spec := bd.shell(fmt.Sprint("c", i), "")
				spec.Args = []string{"sleep", "1000"}
				spec.Seccomp = profile
				b.StopTimer()
				_, _ = bd.cfg.Snapshots.Prepare(ctx, spec.ID, "", nil)
				b.StartTimer()
				bd.start("a", spec)
				b.StopTimer()
				if err := bd.Stop(ctx, spec.ID, 0); err != nil {
					b.Fatal(err)
				}
				if err := bd.Remove(ctx, spec.ID); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkExec(b *testing.B) {
	bd := newBed(b)
	bd.sandbox("a")
	bd.start("a", bd.shell("c", "exec sleep 1000"))
	for b.Loop() {
		var out bytes.Buffer
		if code, err := bd.Exec(ctx, "c", ExecSpec{Args: []string{"echo", "x"}, Stdout: &out}); err != nil || code != 0 || out.String() != "x\n" {
			b.Fatal(code, err, out.String())
		}
	}
}

// BenchmarkLog is the copying of output into the log, in lines of 100 bytes, with rotations.
func BenchmarkLog(b *testing.B) {
	bd := newBed(b)
	bd.sandbox("a")
	line := strings.Repeat("x", 99)
	const lines = 500_000
	b.SetBytes(lines * 100)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("c", i)
		bd.start("a", bd.shell(id, fmt.Sprintf("yes %s | head -n %d", line, lines)))
		bd.wait(id)
		if err := bd.Remove(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeeperMemory reports the private and the proportional memory of a keeper with a running container.
func BenchmarkKeeperMemory(b *testing.B) {
	bd := newBed(b)
	for i := range 3 { // proportional: not alone on the machine
		bd.sandbox(fmt.Sprint("other", i))
	}
	s := bd.sandbox("a")
	bd.start("a", bd.shell("c", "seq 100000; exec sleep 1000"))
	time.Sleep(200 * time.Millisecond)
	var private, pss float64
	for b.Loop() {
		private, pss = smaps(b, s.KeeperPID, "Private_Clean:", "Private_Dirty:"), smaps(b, s.KeeperPID, "Pss:")
	}
	b.ReportMetric(private, "private-KiB")
	b.ReportMetric(pss, "pss-KiB")
	b.ReportMetric(smaps(b, s.KeeperPID, "Pss_Anon:"), "pss-anon-KiB")
}

func smaps(tb testing.TB, pid int, keys ...string) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(string(raw)) {
		for _, k := range keys {
			if f := strings.Fields(line); len(f) > 1 && f[0] == k {
				n, _ := strconv.Atoi(f[1])
				sum += n
			}
		}
	}
	return float64(sum)
}
