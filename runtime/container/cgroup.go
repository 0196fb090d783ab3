package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// The cgroups, below each hierarchy's root:
//
//	<CgroupRoot>/keepers                     the keepers of all sandboxes, and their short-lived creators
//	<CgroupRoot>/<sandbox's Cgroup>          limits of the sandbox; no process of its own (cgroup v2 forbids it)
//	<CgroupRoot>/<sandbox's Cgroup>/<id>     a container
//
// Keepers are not in their sandbox's cgroup, because creators would start there: a Go program under a limit of, say, 10 ms
// CPU a second or 16 MiB. To move each creator out costs an RCU grace period of the kernel, some 10 ms a container start.

const keepersCgroup = "keepers"

func (m *Manager) cgroupPath(s SandboxSpec, leaf string) string {
	name := s.Cgroup
	if name == "" {
		name = s.ID
	}
	return filepath.Join("/", m.cfg.CgroupRoot, filepath.Join("/", name), leaf)
}

// newCgroup describes a cgroup; path is relative to each hierarchy's root.
func newCgroup(path string, r *cgroups.Resources) (cgroups.Manager, error) {
	cm, err := manager.New(&cgroups.Cgroup{Path: path, Resources: r})
	if err != nil {
		return nil, fmt.Errorf("find cgroup %s: %w", path, err)
	}
	return cm, nil
}

// makeCgroup makes it in all hierarchies and sets its limits.
func makeCgroup(path string, r *cgroups.Resources) (cgroups.Manager, error) {
	cm, err := newCgroup(path, r)
	if err != nil {
		return nil, err
	}
	if err := cm.Apply(-1); err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", path, err)
	}
	if err := cm.Set(r); err != nil {
		return nil, fmt.Errorf("set limits of cgroup %s: %w", path, err)
	}
	return cm, nil
}

// existing are the directories of a cgroup that was made. (The devices controller of v1 is left out: its cgroups are made
// for containers only.)
func existing(cm cgroups.Manager) []string {
	var out []string
	for _, dir := range cm.GetPaths() {
		if exists(dir) {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return out
}

// resources translates limits for the hierarchy of this machine. update: 0 removes a limit that may be set.
func resources(r Resources, update bool) *cgroups.Resources {
	v2 := cgroups.IsCgroup2UnifiedMode()
	out := &cgroups.Resources{
		CpuQuota: r.CPUQuota, CpuPeriod: r.CPUPeriod, Memory: r.MemoryLimit, SkipDevices: true,
	}
	if v2 {
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(r.CPUShares)
		out.Unified = r.Unified
	} else {
		out.CpuShares = r.CPUShares
	}
	if r.MemoryLimit > 0 && (v2 || swapAccounted()) {
		out.MemorySwap = r.MemoryLimit // the same: no swap
	}
	if r.PIDsLimit != 0 {
		out.PidsLimit = &r.PIDsLimit
	}
	if update {
		if r.MemoryLimit == 0 {
			out.Memory = -1
		}
		if r.CPUQuota == 0 {
			out.CpuQuota = -1
		}
		if r.PIDsLimit == 0 {
			unlimited := int64(-1)
			out.PidsLimit = &unlimited
		}
	}
	if r.HugepageLimit != nil {
		for _, size := range hugepageSizes() { // what is not asked for is not given
			out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: size, Limit: r.HugepageLimit[size]})
		}
	}
	return out
}

// swapAccounted says whether cgroup v1 counts swap on this machine.
func swapAccounted() bool {
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

// killDir is the directory whose cgroup.kill (v2, hybrid) or freezer (v1) ends everything in a cgroup.
func killDir(paths map[string]string) string {
	if p := paths[""]; p != "" {
		parent := filepath.Dir(p) // the cgroup may not be there yet; roots have no cgroup.kill
		if exists(filepath.Join(p, "cgroup.kill")) || exists(filepath.Join(parent, "cgroup.kill")) {
			return p
		}
	}
	if p := paths["freezer"]; p != "" {
		return p
	}
	return paths["devices"]
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// killCgroup kills every process in the cgroup and below it, and returns when they are gone or after timeout.
func killCgroup(paths map[string]string, timeout time.Duration) error {
	dir := killDir(paths)
	deadline := time.Now().Add(timeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		pids, err := cgroups.GetAllPids(dir)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || (err == nil && len(pids) == 0) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill cgroup %s: %d processes are still there", dir, len(pids))
		}
		killOnce(dir, pids)
		time.Sleep(wait)
	}
}

func killOnce(dir string, pids []int) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	// Frozen meanwhile, so that a process that forks faster than we read cannot escape (cgroup v1).
	freezer := filepath.Join(dir, "freezer.state")
	_ = os.WriteFile(freezer, []byte("FROZEN"), 0)
	if again, err := cgroups.GetAllPids(dir); err == nil {
		pids = again
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = os.WriteFile(freezer, []byte("THAWED"), 0)
}

// oomKills reads how many processes of the cgroup the kernel's OOM killer took.
func oomKills(paths map[string]string) uint64 {
	file := filepath.Join(paths[""], "memory.events")
	if p, ok := paths["memory"]; ok {
		file = filepath.Join(p, "memory.oom_control")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var n uint64
		if _, err := fmt.Sscanf(line, "oom_kill %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// containerCgroup finds a container's cgroup; it need not exist.
func (m *Manager) containerCgroup(s SandboxSpec, id string) (cgroups.Manager, error) {
	return newCgroup(m.cgroupPath(s, id), &cgroups.Resources{SkipDevices: true})
}
