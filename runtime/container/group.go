package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
)

// SetGroup makes a cgroup above sandboxes, e.g. "kubepods/burstable" (below CgroupRoot; "" is that itself), and sets its limits. What r
// leaves out is unlimited. Idempotent.
func (m *Manager) SetGroup(name string, r Resources) error {
	res := resources(r, true)
	res.MemorySwap = 0 // each sandbox and container has its own limit of swap
	_, err := makeCgroup(m.groupPath(name), res)
	return err
}

// WeighGroup changes nothing of a cgroup that SetGroup made but its weight: that is one write.
func (m *Manager) WeighGroup(name string, cpuShares uint64) error {
	res := resources(Resources{CPUShares: cpuShares}, false)
	cm, err := newCgroup(m.groupPath(name), res)
	if err != nil {
		return err
	}
	if err := cm.Set(res); err != nil {
		return fmt.Errorf("weigh cgroup %s: %w", name, err)
	}
	return nil
}

// LimitCgroup sets limits of a cgroup that others made; path is relative to each hierarchy's root. What r leaves out stays as it is.
func (m *Manager) LimitCgroup(path string, r Resources) error {
	res := resources(r, false)
	res.MemorySwap = 0
	cm, err := newCgroup(filepath.Join("/", path), res)
	if err != nil {
		return err
	}
	if len(existing(cm)) == 0 {
		return fmt.Errorf("limit cgroup %s: %w", path, os.ErrNotExist)
	}
	if err := cm.Set(res); err != nil {
		return fmt.Errorf("limit cgroup %s: %w", path, err)
	}
	return nil
}

// GroupStats reads what a cgroup above sandboxes has used.
func (m *Manager) GroupStats(name string) (Stats, error) { return m.readStats(m.groupPath(name)) }

func (m *Manager) groupPath(name string) string {
	return filepath.Join("/", m.cfg.CgroupRoot, filepath.Join("/", name))
}

// hugepageSizes that this machine's kernel counts by cgroup.
var hugepageSizes = sync.OnceValue(func() []string {
	if cgroups.IsCgroup2UnifiedMode() {
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil || !slices.Contains(strings.Fields(string(b)), "hugetlb") {
			return nil
		}
	} else if !exists("/sys/fs/cgroup/hugetlb") {
		return nil
	}
	return cgroups.HugePageSizes()
})
