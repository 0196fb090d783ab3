package container

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/reexec"
)

// openFiles is RLIMIT_NOFILE of every container: the same however the daemon was started.
const openFiles = 1 << 20

var (
	defaultMasked = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	defaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// request translates what the caller wants into what the creator does. killCgroup is the directory that the keeper kills
// when the first process has ended.
func (m *Manager) request(c *container, rootfs string, volumes []Mount) (r *reexec.Request, killCgroup string, err error) {
	spec, sandbox := c.info.Spec, c.sandbox.info.Spec
	spec.Mounts = append(volumes, spec.Mounts...)
	if len(spec.Args) == 0 {
		return nil, "", errors.New("no command")
	}
	if err := checkMounts(spec.Mounts); err != nil {
		return nil, "", err
	}
	files := m.host.clampOpenFiles(openFiles)
	oomScoreAdj := m.host.clampOOMScoreAdj(spec.OOMScoreAdj)
	config := &configs.Config{
		Rootfs: rootfs, Readonlyfs: spec.ReadonlyRootfs, RootPropagation: rootPropagation(spec.Mounts),
		Mounts: m.mounts(sandbox, spec), NoNewPrivileges: spec.NoNewPrivileges, OomScoreAdj: &oomScoreAdj,
		Capabilities: m.capabilitySets(spec), Rlimits: []configs.Rlimit{{Type: unix.RLIMIT_NOFILE, Hard: files, Soft: files}},
		MaskPaths: spec.MaskedPaths, ReadonlyPaths: spec.ReadonlyPaths, Version: "1.2.1",
	}
	if config.Namespaces, err = m.namespaces(c.sandbox, spec); err != nil {
		return nil, "", err
	}
	if users := c.sandbox.info.Users; users != nil {
		own := []string{m.shmPath(sandbox.ID)}
		for _, v := range volumes {
			own = append(own, v.Source)
		}
		inUserNamespace(config, users, own...)
	}
	if !spec.Privileged {
		if spec.MaskedPaths == nil {
			config.MaskPaths = defaultMasked
		}
		if spec.ReadonlyPaths == nil {
			config.ReadonlyPaths = defaultReadonly
		}
	}
	if !spec.Privileged {
		config.ReadonlyPaths = append([]string{"/sys"}, config.ReadonlyPaths...) // see standardMounts
	}
	if config.Seccomp, err = seccompProfile(spec); err != nil {
		return nil, "", err
	}
	if err := m.confine(config, spec); err != nil {
		return nil, "", err
	}
	limits := resources(spec.Resources, false)
	limits.SkipDevices = false
	if config.Devices, limits.Devices, err = devicesOf(spec); err != nil {
		return nil, "", err
	}
	killWhole(limits)
	config.Cgroups = &cgroups.Cgroup{Path: m.cgroupPath(sandbox, spec.ID), Resources: limits}
	cm, err := newCgroup(config.Cgroups.Path, limits)
	if err != nil {
		return nil, "", err
	}
	return &reexec.Request{Root: m.factoryRoot(), ID: spec.ID, Config: config, Process: process(spec)}, killDir(cm.GetPaths()), nil
}

// process is the container's first.
func process(spec ContainerSpec) reexec.Process {
	p := reexec.Process{Args: spec.Args, Env: env(spec), Cwd: cwd(spec), UID: int(spec.UID), GID: int(spec.GID), TTY: spec.TTY, Stdin: spec.Stdin}
	for _, g := range spec.Groups {
		p.Groups = append(p.Groups, int(g))
	}
	return p
}

// killWhole makes the OOM killer end the whole container instead of one process of it, unless the caller says otherwise.
func killWhole(r *cgroups.Resources) {
	if !cgroups.IsCgroup2UnifiedMode() || r.Memory <= 0 {
		return
	}
	unified := map[string]string{"memory.oom.group": "1"}
	for k, v := range r.Unified {
		unified[k] = v
	}
	r.Unified = unified
}

func env(spec ContainerSpec) []string {
	out := spec.Env
	for _, kv := range out {
		if len(kv) >= 5 && kv[:5] == "PATH=" {
			return withTerm(out, spec.TTY)
		}
	}
	out = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, out...)
	return withTerm(out, spec.TTY)
}

func withTerm(env []string, tty bool) []string {
	if !tty {
		return env
	}
	for _, kv := range env {
		if len(kv) >= 5 && kv[:5] == "TERM=" {
			return env
		}
	}
	return append([]string{"TERM=xterm"}, env...)
}

func cwd(spec ContainerSpec) string {
	return filepath.Join("/", spec.Cwd)
}

// namespaces: mount (and cgroup, on v2) of its own, network, IPC and UTS of the sandbox, PID of its own unless shared.
func (m *Manager) namespaces(s *sandbox, spec ContainerSpec) (configs.Namespaces, error) {
	m.mu.Lock()
	keeperPID, pid1, sandbox := s.info.KeeperPID, s.pid1, s.info.Spec
	m.mu.Unlock()
	of := func(pid int, name string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, name) }
	n := configs.Namespaces{{Type: configs.NEWNS}}
	if cgroups.IsCgroup2UnifiedMode() {
		n.Add(configs.NEWCGROUP, "")
	}
	if !sandbox.HostNetwork {
		n.Add(configs.NEWNET, of(keeperPID, "net"))
	}
	if !sandbox.HostIPC {
		n.Add(configs.NEWIPC, of(keeperPID, "ipc"))
	}
	if sandbox.Hostname != "" {
		n.Add(configs.NEWUTS, of(keeperPID, "uts"))
	}
	switch {
	case spec.TargetContainer != "":
		_, pid, _, err := m.running(spec.TargetContainer)
		if err != nil {
			return nil, fmt.Errorf("join the processes of the target: %w", err)
		}
		n.Add(configs.NEWPID, of(pid, "pid"))
	case sandbox.HostPID:
	case sandbox.SharedPID:
		n.Add(configs.NEWPID, of(pid1, "pid"))
	default:
		n.Add(configs.NEWPID, "")
	}
	return n, nil
}

func (m *Manager) capabilitySets(spec ContainerSpec) *configs.Capabilities {
	caps := spec.Capabilities
	if spec.Privileged {
		caps = capabilities.KnownCapabilities()
	}
	caps = m.host.clampCapabilities(caps)
	return &configs.Capabilities{Bounding: caps, Effective: caps, Permitted: caps}
}
