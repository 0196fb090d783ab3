package container

import (
	"fmt"

	"github.com/opencontainers/cgroups"

	"codeberg.org/skiff/skiff/runtime/stats"
)

// ContainerStats reads the container's cgroup.
func (m *Manager) ContainerStats(containerID string) (Stats, error) {
	c, _, _, err := m.running(containerID)
	if err != nil {
		return Stats{}, err
	}
	return m.readStats(m.cgroupPath(c.sandbox.info.Spec, containerID))
}

// ContainerDetail reads what monitoring wants to know of a container's cgroup, and where that is.
func (m *Manager) ContainerDetail(containerID string) (stats.Detail, string, error) {
	c, err := m.container(containerID)
	if err != nil {
		return stats.Detail{}, "", err
	}
	return m.readDetail(m.cgroupPath(c.sandbox.info.Spec, containerID))
}

// SandboxDetail reads the same of a sandbox's cgroup.
func (m *Manager) SandboxDetail(sandboxID string) (stats.Detail, string, error) {
	s, err := m.sandbox(sandboxID)
	if err != nil {
		return stats.Detail{}, "", err
	}
	return m.readDetail(m.cgroupPath(s.info.Spec, ""))
}

// GroupDetail reads the same of a cgroup above sandboxes.
func (m *Manager) GroupDetail(name string) (stats.Detail, string, error) {
	return m.readDetail(m.groupPath(name))
}

func (m *Manager) readDetail(cgroup string) (stats.Detail, string, error) {
	cm, err := newCgroup(cgroup, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return stats.Detail{}, "", err
	}
	return stats.CgroupDetail(cm.GetPaths()), cgroup, nil
}

// SandboxStats reads the sandbox's cgroup, which counts its containers and its keeper, and its eth0.
func (m *Manager) SandboxStats(sandboxID string) (Stats, error) {
	s, err := m.sandbox(sandboxID)
	if err != nil {
		return Stats{}, err
	}
	m.mu.Lock()
	pid, spec := s.info.KeeperPID, s.info.Spec
	m.mu.Unlock()
	if pid == 0 {
		return Stats{}, fmt.Errorf("sandbox %s is stopped", sandboxID)
	}
	out, err := m.readStats(m.cgroupPath(spec, ""))
	if err != nil {
		return Stats{}, err
	}
	if !spec.HostNetwork {
		out.Interfaces, _ = stats.Interfaces(pid) // it may not be connected yet
	}
	return out, nil
}

func (m *Manager) readStats(cgroup string) (Stats, error) {
	cm, err := newCgroup(cgroup, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return Stats{}, err
	}
	u, err := stats.Cgroup(cm.GetPaths())
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		Time: u.Time, CPUNanos: u.CPUNanos, MemoryUsage: u.MemoryUsage, WorkingSet: u.WorkingSet, RSS: u.RSS,
		PageFaults: u.PageFaults, MajorPageFaults: u.MajorPageFaults, PIDs: u.PIDs,
		MemoryLimit: u.MemoryLimit, Swap: u.Swap, SwapLimit: u.SwapLimit,
	}, nil
}
