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
		if n, err := stats.Interface(pid, "eth0"); err == nil { // it may not be connected yet
			out.RxBytes, out.RxErrors, out.TxBytes, out.TxErrors = n.RxBytes, n.RxErrors, n.TxBytes, n.TxErrors
		}
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
	}, nil
}
