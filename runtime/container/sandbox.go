package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

const (
	keeperOOMScoreAdj = -998
	shmSize           = 64 << 20 // of /dev/shm, which the sandbox's containers share
	killTimeout       = 10 * time.Second
)

// CreateSandbox makes the cgroup, starts the keeper in new namespaces and sets hostname, loopback and sysctls.
// The caller then connects NetNS to a network.
func (m *Manager) CreateSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error) {
	if err := checkID("sandbox", spec.ID); err != nil {
		return Sandbox{}, err
	}
	if err := checkNamespaces(spec); err != nil {
		return Sandbox{}, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	s := &sandbox{info: Sandbox{Spec: spec, State: SandboxStopped, CreatedAt: time.Now()}}
	s.op.Lock()
	defer s.op.Unlock()
	m.mu.Lock()
	if m.sandboxes[spec.ID] != nil {
		m.mu.Unlock()
		return Sandbox{}, fmt.Errorf("create sandbox %s: it exists", spec.ID)
	}
	if spec.UserNamespace {
		users, err := m.takeUsersLocked(spec.ID)
		if err != nil {
			m.mu.Unlock()
			return Sandbox{}, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
		}
		s.info.Users = users
	}
	m.sandboxes[spec.ID] = s
	m.mu.Unlock()
	if m.cgroupInUse(s) {
		m.mu.Lock()
		delete(m.sandboxes, spec.ID)
		m.mu.Unlock()
		return Sandbox{}, fmt.Errorf("create sandbox %s: cgroup %s belongs to another sandbox that is not stopped", spec.ID, spec.Cgroup)
	}
	if err := m.buildSandbox(s); err != nil {
		rerr := m.dismantle(context.WithoutCancel(ctx), s)
		if rerr == nil {
			rerr = m.forget(s)
		}
		err = errors.Join(err, rerr)
		return Sandbox{}, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	m.events.add(Event{SandboxID: spec.ID})
	v, _ := m.Sandbox(spec.ID)
	return v, nil
}

func (m *Manager) buildSandbox(s *sandbox) error {
	spec := s.info.Spec
	m.step("sandbox: nothing is written")
	if err := os.MkdirAll(filepath.Join(m.stateDir(spec.ID), "containers"), 0o700); err != nil {
		return err
	}
	m.step("sandbox: its directory is made")
	if err := m.saveSandbox(s); err != nil {
		return err
	}
	m.step("sandbox: it is recorded")
	if err := os.MkdirAll(m.runDir(spec.ID), 0o700); err != nil {
		return err
	}
	m.step("sandbox: its run directory is made")
	if !spec.HostIPC {
		if err := mountShm(m.shmPath(spec.ID), s.info.Users); err != nil {
			return err
		}
	}
	m.step("sandbox: its memory is mounted")
	if _, err := makeCgroup(m.cgroupPath(spec, ""), resources(spec.Resources, false)); err != nil {
		return err
	}
	m.step("sandbox: its cgroup is made")
	k := keeper.Spec{
		ID: spec.ID, Executable: m.cfg.Executable, Dir: m.runDir(spec.ID), Join: m.keepers, Namespaces: namespaceFlags(spec),
		Hostname: spec.Hostname, Sysctls: spec.Sysctls, SharedPID: spec.SharedPID && !spec.HostPID, OOMScoreAdj: keeperOOMScoreAdj,
		Reached: m.cfg.reached,
	}
	if s.info.Users != nil {
		k.Users = s.info.Users.Base
	}
	started, err := keeper.Spawn(k)
	if err != nil {
		return err
	}
	m.step("sandbox: its keeper runs")
	m.mu.Lock()
	s.info.KeeperPID, s.process = started.PID, started.Process
	m.mu.Unlock()
	netns := ""
	if !spec.HostNetwork {
		netns = m.netnsPath(spec.ID)
		if err := bindFile(fmt.Sprintf("/proc/%d/ns/net", started.PID), netns); err != nil {
			return err
		}
	}
	if s.info.Users != nil {
		if err := bindUsers(netns, s.info.Users.Namespace); err != nil {
			return err
		}
	}
	m.step("sandbox: its network namespace is bound")
	client, _, err := keeper.Dial(m.runDir(spec.ID))
	if err != nil {
		return err
	}
	m.mu.Lock()
	s.client, s.pid1, s.info.NetNS, s.info.State = client, client.PID1, netns, SandboxReady
	m.serveLocked(s)
	m.mu.Unlock()
	m.step("sandbox: it is ready")
	if err := m.saveSandbox(s); err != nil {
		return err
	}
	m.step("sandbox: it is recorded as ready")
	return nil
}

func namespaceFlags(s SandboxSpec) int {
	flags := 0
	if !s.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	if !s.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if s.Hostname != "" {
		flags |= unix.CLONE_NEWUTS
	}
	return flags
}

// checkNamespaces refuses a user namespace beside the host's others, and sysctls
// that do not belong to a namespace of the sandbox: the keeper could set the host's.
func checkNamespaces(s SandboxSpec) error {
	if s.UserNamespace && (s.HostNetwork || s.HostIPC || s.HostPID) {
		return errors.New("a user namespace needs network, IPC and PID namespaces of its own")
	}
	for name := range s.Sysctls {
		path := strings.TrimPrefix(keeper.SysctlPath(name), "/proc/sys/")
		first, rest, _ := strings.Cut(path, "/")
		ipc := first == "kernel" && (strings.HasPrefix(rest, "shm") || strings.HasPrefix(rest, "msg") || rest == "sem") ||
			first == "fs" && strings.HasPrefix(rest, "mqueue/")
		switch {
		case first == "net" && !s.HostNetwork, ipc && !s.HostIPC:
		case first == "net" || ipc:
			return fmt.Errorf("sysctl %s: not allowed with the host's namespace", name)
		default:
			return fmt.Errorf("sysctl %s: does not belong to a namespace of the sandbox", name)
		}
		if strings.ContainsRune(s.Sysctls[name], 0) || strings.ContainsRune(name, 0) {
			return fmt.Errorf("sysctl %q: bad value", name)
		}
	}
	return nil
}

func mountShm(path string, users *Users) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	data := fmt.Sprintf("mode=1777,size=%d", shmSize)
	if users != nil {
		data += fmt.Sprintf(",uid=%d,gid=%d", users.Base, users.Base)
	}
	if err := unix.Mount("shm", path, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// bindFile bind-mounts source, made reachable under the name target.
func bindFile(source, target string) error {
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

// unmountAll takes away every mount on path, of which there may be none.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue
		}
		if err == unix.EINVAL || err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("unmount %s: %w", path, err)
	}
}

// StopSandbox kills what still runs in it and ends its keeper. Idempotent.
func (m *Manager) StopSandbox(ctx context.Context, id string) error {
	s, err := m.sandbox(id)
	if err != nil {
		return nil
	}
	s.op.Lock()
	defer s.op.Unlock()
	return m.stopLocked(ctx, s)
}

func (m *Manager) stopLocked(ctx context.Context, s *sandbox) error {
	m.mu.Lock()
	stopped := s.info.State == SandboxStopped && s.info.KeeperPID == 0
	m.mu.Unlock()
	if stopped {
		return nil
	}
	m.killContainers(ctx, s)
	if err := m.dismantle(ctx, s); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", s.info.Spec.ID, err)
	}
	m.events.add(Event{SandboxID: s.info.Spec.ID})
	return nil
}

// killContainers kills the sandbox's containers and waits a while for their keeper to tell their exit codes.
func (m *Manager) killContainers(ctx context.Context, s *sandbox) {
	m.mu.Lock()
	all := m.containersLocked(s)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	for _, c := range all {
		m.killContainer(ctx, c)
	}
	for _, c := range all {
		select {
		case <-c.exited:
		case <-ctx.Done():
			return
		}
	}
}

// dismantle ends the keeper and everything else in the sandbox's cgroup, and takes away mounts and cgroups. What it does
// is right from any half-made state, so it is also what cleans up after a failure and after a crash.
func (m *Manager) dismantle(ctx context.Context, s *sandbox) error {
	spec := s.info.Spec
	m.mu.Lock()
	client, process := s.client, s.process
	s.client = nil
	m.mu.Unlock()
	if client != nil {
		client.Close()
	}
	if process != nil {
		if err := process.Kill(killTimeout); err != nil {
			return err
		}
	}
	m.step("stop: the keeper is killed")
	cm, err := newCgroup(m.cgroupPath(spec, ""), &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return err
	}
	ours := !m.cgroupInUse(s)
	if ours {
		if err := killCgroup(cm.GetPaths(), killTimeout); err != nil {
			return err
		}
	}
	m.step("stop: the cgroup is empty")
	m.lose(s, "killed with its sandbox")
	m.step("stop: its containers are settled")
	if err := errors.Join(unmountAll(m.netnsPath(spec.ID)), unmountAll(m.usersPath(spec.ID)), unmountAll(m.shmPath(spec.ID))); err != nil {
		return err
	}
	m.step("stop: its mounts are gone")
	if ours {
		if err := cm.Destroy(); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	m.step("stop: its cgroup is gone")
	m.mu.Lock()
	s.info.State, s.info.KeeperPID, s.info.NetNS, s.pid1, s.process = SandboxStopped, 0, "", 0, nil
	m.mu.Unlock()
	if exists(m.stateDir(spec.ID)) {
		return m.saveSandbox(s)
	}
	return nil
}

// cgroupInUse says whether another sandbox lives in the cgroup of this one.
func (m *Manager) cgroupInUse(s *sandbox) bool {
	path := m.cgroupPath(s.info.Spec, "")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.sandboxes {
		if other != s && other.client != nil && m.cgroupPath(other.info.Spec, "") == path {
			return true
		}
	}
	return false
}

// RemoveSandbox stops it and forgets it with its containers, their root filesystems and its cgroup. Idempotent.
func (m *Manager) RemoveSandbox(ctx context.Context, id string) error {
	s, err := m.sandbox(id)
	if err != nil {
		return nil
	}
	s.op.Lock()
	defer s.op.Unlock()
	if err := m.stopLocked(ctx, s); err != nil {
		return err
	}
	m.mu.Lock()
	all := m.containersLocked(s)
	m.mu.Unlock()
	for _, c := range all {
		if err := m.removeContainer(ctx, c); err != nil {
			return fmt.Errorf("remove sandbox %s: %w", id, err)
		}
	}
	if err := m.forget(s); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	m.events.add(Event{SandboxID: id})
	return nil
}

// forget deletes the files of a dismantled sandbox; sandbox.json last but one, so that a crash leaves a sandbox to remove.
func (m *Manager) forget(s *sandbox) error {
	id := s.info.Spec.ID
	m.step("forget: nothing is removed")
	if err := os.RemoveAll(m.runDir(id)); err != nil {
		return err
	}
	m.step("forget: the run directory is gone")
	if err := os.RemoveAll(filepath.Join(m.stateDir(id), "containers")); err != nil {
		return err
	}
	m.step("forget: the containers' records are gone")
	if err := os.RemoveAll(m.stateDir(id)); err != nil {
		return err
	}
	m.step("forget: the record is gone")
	m.mu.Lock()
	delete(m.sandboxes, id)
	m.mu.Unlock()
	return nil
}

// UpdateSandbox changes the limits of the sandbox's cgroup.
func (m *Manager) UpdateSandbox(ctx context.Context, id string, r Resources) error {
	s, err := m.sandbox(id)
	if err != nil {
		return err
	}
	s.op.Lock()
	defer s.op.Unlock()
	limits := resources(r, true)
	cm, err := newCgroup(m.cgroupPath(s.info.Spec, ""), limits)
	if err != nil {
		return err
	}
	if err := cm.Set(limits); err != nil {
		return fmt.Errorf("set limits of sandbox %s: %w", id, err)
	}
	m.mu.Lock()
	s.info.Spec.Resources = r
	m.mu.Unlock()
	return m.saveSandbox(s)
}
