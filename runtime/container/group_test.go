package container

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
)

// TestGroups sets the limits of a cgroup above sandboxes, reads them back from the kernel, and lifts them again.
func TestGroups(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	read := func(group, v1, v2 string) string {
		t.Helper()
		cm, err := newCgroup(b.groupPath(group), &cgroups.Resources{SkipDevices: true})
		if err != nil {
			t.Fatal(err)
		}
		controller, file, _ := strings.Cut(v1, "/")
		path := filepath.Join(cm.Path(controller), file)
		if cgroups.IsCgroup2UnifiedMode() {
			path = filepath.Join(cm.Path(""), v2)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(got))
	}
	v2 := cgroups.IsCgroup2UnifiedMode()
	for _, r := range []Resources{{CPUShares: 2, MemoryLimit: 1 << 30, PIDsLimit: 5000, HugepageLimit: map[string]uint64{}}, {CPUShares: 2}, {CPUShares: 2}} {
		if err := b.SetGroup("kubepods/besteffort", r); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: "2", true: "1"}[v2]
		if got := read("kubepods/besteffort", "cpu/cpu.shares", "cpu.weight"); got != want {
			t.Errorf("weight %s", got)
		}
		memory := read("kubepods/besteffort", "memory/memory.limit_in_bytes", "memory.max")
		pids := read("kubepods/besteffort", "pids/pids.max", "pids.max")
		if limited := r.MemoryLimit > 0; limited != (memory == "1073741824") || limited != (pids == "5000") || !limited && pids != "max" {
			t.Errorf("%+v: memory %s, pids %s", r, memory, pids)
		}
	}
	if err := b.WeighGroup("kubepods/besteffort", 1024); err != nil {
		t.Error(err)
	}
	if got, want := read("kubepods/besteffort", "cpu/cpu.shares", "cpu.weight"), map[bool]string{false: "1024", true: strconv.FormatUint(cgroups.ConvertCPUSharesToCgroupV2Value(1024), 10)}[v2]; got != want {
		t.Errorf("weight %s", got)
	}
	if _, err := b.GroupStats("kubepods/besteffort"); err != nil {
		t.Error(err)
	}
	if err := b.LimitCgroup("skiff-no-such-cgroup", Resources{CPUShares: 10}); err == nil {
		t.Error("a cgroup that is not there was limited")
	}
	if err := b.LimitCgroup(b.groupPath("kubepods"), Resources{CPUShares: 100}); err != nil {
		t.Error(err)
	}
}
