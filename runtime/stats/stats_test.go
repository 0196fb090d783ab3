package stats

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	want := Usage{CPUNanos: 1234567000, MemoryUsage: 1000000, WorkingSet: 900000, RSS: 500000, PageFaults: 7, MajorPageFaults: 2, PIDs: 3, MemoryLimit: 2000000, Swap: 9, SwapLimit: 1000}
	v2 := tree(t, map[string]string{
		"cpu.stat":       "usage_usec 1234567\nuser_usec 1\n",
		"memory.current": "1000000\n",
		"memory.stat":    "anon 500000\nfile 300000\ninactive_file 100000\npgfault 7\npgmajfault 2\n",
		"pids.current":   "3\n",
		"memory.max":     "2000000\n", "memory.swap.current": "9\n", "memory.swap.max": "1000\n",
	})
	v1 := tree(t, map[string]string{
		"cpuacct/cpuacct.usage":        "1234567000\n",
		"memory/memory.usage_in_bytes": "1000000\n",
		"memory/memory.stat": "rss 1\ninactive_file 1\ntotal_rss 500000\ntotal_inactive_file 100000\ntotal_pgfault 7\n" +
			"total_pgmajfault 2\nhierarchical_memory_limit 2000000\nhierarchical_memsw_limit 2001000\ntotal_swap 9\n",
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
	free := tree(t, map[string]string{"memory/memory.stat": "hierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n",
		"cpu.stat": "usage_usec 1\n", "memory.max": "max\n", "memory.swap.max": "max\n"})
	for _, paths := range []map[string]string{{"memory": free + "/memory"}, {"": free}} {
		if got, err := Cgroup(paths); err != nil || got.MemoryLimit != 0 || got.SwapLimit != 0 {
			t.Errorf("without limits: %+v %v", got, err)
		}
	}
	if _, err := Cgroup(map[string]string{"": "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestInterface(t *testing.T) {
	line := "  eth0:  123456     100    1    2    0     0          0         0   654321     200    3    0    0     0       0          0"
	got, ok := parseInterface(line)
	if want := (Network{Name: "eth0", RxBytes: 123456, RxPackets: 100, RxErrors: 1, RxDropped: 2, TxBytes: 654321, TxPackets: 200, TxErrors: 3}); !ok || got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, line := range []string{"", "eth0:", "eth0: 1 2 3", "Inter-|   Receive"} {
		if _, ok := parseInterface(line); ok {
			t.Errorf("%q is taken for eth0", line)
		}
	}
	if all, err := Interfaces(os.Getpid()); err != nil || slices.ContainsFunc(all, func(n Network) bool { return n.Name == "lo" }) {
		t.Errorf("%v %v", all, err)
	}
	if _, err := Interface(os.Getpid(), "nope0"); !errors.Is(err, ErrNoInterface) {
		t.Error(err)
	}
}

func TestDetail(t *testing.T) {
	v2, v1 := tree(t, map[string]string{
		"cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 10\nnr_throttled 4\nthrottled_usec 6\n", "cpu.weight": "1\n", "cpu.max": "50000 100000\n",
		"memory.stat": "file 100\nfile_mapped 10\nkernel 5\n", "memory.peak": "900\n",
		"memory.events": "max 2\noom_kill 1\n", "pids.current": "3\n", "pids.max": "max\n", "cgroup.procs": "1\n2\n",
		"io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n",
	}), tree(t, map[string]string{
		"cpuacct/cpuacct.stat": "user 1\nsystem 2\n", "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 6000\n", "cpu/cpu.shares": "2\n", "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
		"memory/memory.stat":               "total_cache 100\ntotal_mapped_file 10\n",
		"memory/memory.max_usage_in_bytes": "900\n", "memory/memory.failcnt": "2\n", "memory/memory.kmem.usage_in_bytes": "5\n", "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "memory/cgroup.procs": "1\n2\n",
		"pids/pids.current": "3\n", "pids/pids.max": "max\n",
		"blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n8:16 Write 2\nTotal 33\n", "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 2\n8:0 Write 3\nTotal 5\n",
	})
	want := Detail{CPUPeriods: 10, CPUThrottled: 4, CPUThrottledNanos: 6000, CPUShares: 2, CPUPeriod: 100000, Cache: 100, MappedFile: 10, Kernel: 5,
		MaxUsage: 900, Failures: 2, OOMKills: 1, Threads: 3, Processes: 2, ReadBytes: 11, WriteBytes: 22, Reads: 2, Writes: 3}
	v2want, v1want := want, want
	v2want.CPUUserNanos, v2want.CPUSystemNanos, v2want.CPUQuota = 3000, 2000, 50000
	v1want.CPUUserNanos, v1want.CPUSystemNanos = 10_000_000, 20_000_000
	if got := CgroupDetail(map[string]string{"": v2}); got != v2want {
		t.Errorf("v2: %+v, want %+v", got, v2want)
	}
	paths := map[string]string{"memory": v1 + "/memory", "cpuacct": v1 + "/cpuacct", "cpu": v1 + "/cpu", "pids": v1 + "/pids", "blkio": v1 + "/blkio"}
	if got := CgroupDetail(paths); got != v1want {
		t.Errorf("v1: %+v, want %+v", got, v1want)
	}
}
