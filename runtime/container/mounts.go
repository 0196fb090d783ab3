package container

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// mounts are the standard ones, less those that the caller mounts over, then the caller's, parents before children.
func (m *Manager) mounts(sandbox SandboxSpec, spec ContainerSpec) []*configs.Mount {
	own := slices.Clone(spec.Mounts)
	slices.SortStableFunc(own, func(a, b Mount) int { return depth(a.Destination) - depth(b.Destination) })
	replaced := map[string]bool{}
	for _, o := range own {
		replaced[filepath.Join("/", o.Destination)] = true
	}
	var out []*configs.Mount
	for _, s := range m.standardMounts(sandbox, spec.Privileged) {
		if !replaced[s.Destination] {
			out = append(out, s)
		}
	}
	for _, o := range own {
		out = append(out, o.config())
	}
	return out
}

func depth(path string) int { return strings.Count(filepath.Join("/", path), "/") }

func (m *Manager) standardMounts(sandbox SandboxSpec, privileged bool) []*configs.Mount {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	sys := safe | unix.MS_RDONLY
	if privileged {
		sys = safe
	}
	shm := m.shmPath(sandbox.ID)
	if sandbox.HostIPC {
		shm = "/dev/shm"
	}
	return []*configs.Mount{
		{Destination: "/proc", Device: "proc", Source: "proc", Flags: safe},
		{Destination: "/dev", Device: "tmpfs", Source: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Destination: "/dev/pts", Device: "devpts", Source: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC,
			Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{Destination: "/dev/mqueue", Device: "mqueue", Source: "mqueue", Flags: safe},
		{Destination: "/dev/shm", Device: "bind", Source: shm, Flags: unix.MS_BIND | unix.MS_REC | safe,
			PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC}},
		// Containers of a sandbox share one sysfs, that of its network namespace: the first to mount it read-only would make it so
		// for a privileged one too. So it is mounted writable, and the request makes the place of it read-only.
		{Destination: "/sys", Device: "sysfs", Source: "sysfs", Flags: safe},
		{Destination: "/sys/fs/cgroup", Device: "cgroup", Source: "cgroup", Flags: sys | unix.MS_RELATIME},
	}
}

// config translates a mount of the caller. libcontainer makes a missing destination, and resolves it inside the root
// filesystem, whatever symbolic links are there.
func (o Mount) config() *configs.Mount {
	c := &configs.Mount{Source: o.Source, Destination: filepath.Join("/", o.Destination)}
	if o.Source == "" || o.Source == "tmpfs" {
		c.Device, c.Source, c.Flags = "tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV
		c.Data = "mode=1777"
	} else {
		c.Device, c.Flags = "bind", unix.MS_BIND|unix.MS_REC
		c.PropagationFlags = []int{unix.MS_REC | propagation(o.Propagation)}
	}
	if o.ReadOnly || o.RecursiveReadOnly {
		c.Flags |= unix.MS_RDONLY
	}
	for _, name := range o.Options {
		c.Flags |= mountOptions[name]
	}
	if o.RecursiveReadOnly {
		c.RecAttr = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	}
	return c
}

var mountOptions = map[string]int{"noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV}

// checkMounts refuses what the kernel would take without a word and not do.
func checkMounts(mounts []Mount) error {
	for _, m := range mounts {
		for _, o := range m.Options {
			if mountOptions[o] == 0 {
				return fmt.Errorf("mount %s: option %q is not supported", m.Destination, o)
			}
		}
		if m.Propagation == "slave" || m.Propagation == "shared" {
			if err := checkPropagation(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPropagation: mounts travel to and from a container only when the mount that the source lies on takes part in that.
func checkPropagation(m Mount) error {
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return err
	}
	all, err := mountinfo.GetMounts(mountinfo.ParentsFilter(source))
	if err != nil {
		return err
	}
	on := &mountinfo.Info{}
	for _, i := range all { // the deepest, and of several on one place the last
		if len(i.Mountpoint) >= len(on.Mountpoint) {
			on = i
		}
	}
	shared := strings.Contains(on.Optional, "shared:")
	switch {
	case m.Propagation == "shared" && !shared:
		return fmt.Errorf("path %q is mounted on %q but it is not a shared mount (mount --make-rshared makes it one)", m.Source, on.Mountpoint)
	case m.Propagation == "slave" && !shared && !strings.Contains(on.Optional, "master:"):
		return fmt.Errorf("path %q is mounted on %q but it is not a shared or slave mount (mount --make-rshared makes it one)", m.Source, on.Mountpoint)
	}
	return nil
}

// CanRecursiveReadOnly says whether the kernel can make a whole tree of mounts read-only (Linux 5.12).
var CanRecursiveReadOnly = sync.OnceValue(func() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
})

func propagation(name string) int {
	switch name {
	case "slave":
		return unix.MS_SLAVE
	case "shared":
		return unix.MS_SHARED
	default:
		return unix.MS_PRIVATE
	}
}

// rootPropagation: mounts are seen from the host (slave) only where asked, and on the host (shared) likewise.
func rootPropagation(mounts []Mount) int {
	p := unix.MS_PRIVATE
	for _, m := range mounts {
		switch {
		case m.Propagation == "shared":
			return unix.MS_SHARED | unix.MS_REC
		case m.Propagation == "slave":
			p = unix.MS_SLAVE
		}
	}
	return p | unix.MS_REC
}
