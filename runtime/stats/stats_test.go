package stats

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func tree(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCgroup(t *testing.T) {
	want := Usage{CPUNanos: 1234567000, MemoryUsage: 1000000, WorkingSet: 900000, RSS: 500000, PageFaults: 7, MajorPageFaults: 2, PIDs: 3}
	v2 := tree(t, map[string]string{
		"cpu.stat":       "usage_usec 1234567\nuser_usec 1\n",
		"memory.current": "1000000\n",
		"memory.stat":    "anon 500000\nfile 300000\ninactive_file 100000\npgfault 7\npgmajfault 2\n",
		"pids.current":   "3\n",
	})
	v1 := tree(t, map[string]string{
		"cpuacct/cpuacct.usage":        "1234567000\n",
		"memory/memory.usage_in_bytes": "1000000\n",
		"memory/memory.stat": "rss 1\ninactive_file 1\ntotal_rss 500000\ntotal_inactive_file 100000\ntotal_pgfault 7\n" +
			"total_pgmajfault 2\nhierarchical_memory_limit 9223372036854771712\n",
		"pids/pids.current": "3\n",
	})
	for name, paths := range map[string]map[string]string{
		"v2":     {"": v2},
		"v1":     {"memory": v1 + "/memory", "cpuacct": v1 + "/cpuacct", "pids": v1 + "/pids"},
		"hybrid": {"": v2, "memory": v1 + "/memory", "cpuacct": v1 + "/cpuacct", "pids": v1 + "/pids"},
	} {
		got, err := Cgroup(paths)
		if err != nil || got.Time.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
		got.Time = time.Time{}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if _, err := Cgroup(map[string]string{"": "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestInterface(t *testing.T) {
	line := "  eth0:  123456     100    1    2    0     0          0         0   654321     200    3    0    0     0       0          0"
	got, ok := parseInterface(line, "eth0")
	if want := (Network{RxBytes: 123456, RxErrors: 1, TxBytes: 654321, TxErrors: 3}); !ok || got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, line := range []string{"", "eth0:", "eth0: 1 2 3", "Inter-|   Receive", " eth00: 1 2 3 4 5 6 7 8 9 10 11 12"} {
		if _, ok := parseInterface(line, "eth0"); ok {
			t.Errorf("%q is taken for eth0", line)
		}
	}
	if _, err := Interface(os.Getpid(), "lo"); err != nil {
		t.Error(err)
	}
	if _, err := Interface(os.Getpid(), "nope0"); !errors.Is(err, ErrNoInterface) {
		t.Error(err)
	}
}
