package container

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountsThatCannotBe: what the kernel would take without a word and not do is refused.
func TestMountsThatCannotBe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	check := func(m Mount, want string) {
		t.Helper()
		m.Source, m.Destination = dir, "/x"
		err := checkMounts([]Mount{m})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", m, err, want)
		}
	}
	propagate := func(how uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", how, ""); err != nil {
			t.Fatal(err)
		}
	}
	propagate(unix.MS_PRIVATE)
	check(Mount{Propagation: "private"}, "")
	check(Mount{Propagation: "shared"}, "it is not a shared mount")
	check(Mount{Propagation: "slave"}, "it is not a shared or slave mount")
	propagate(unix.MS_SHARED)
	check(Mount{Propagation: "shared"}, "")
	check(Mount{Propagation: "slave"}, "")
	check(Mount{Options: []string{"noexec", "nodev", "nosuid"}}, "")
	check(Mount{Options: []string{"sync"}}, `option "sync" is not supported`)
}

func TestMountOptions(t *testing.T) {
	c := Mount{Source: "/x", ReadOnly: true, Options: []string{"noexec", "nosuid"}}.config()
	if want := unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOSUID; c.Flags != want {
		t.Errorf("flags %x, want %x", c.Flags, want)
	}
}

// TestDevicesOfPrivileged: a privileged container has the host's devices, and those that it names under its own names.
func TestDevicesOfPrivileged(t *testing.T) {
	for _, privileged := range []bool{true, false} {
		nodes, _, err := devicesOf(ContainerSpec{Privileged: privileged, Devices: []Device{{HostPath: "/dev/null", ContainerPath: "/dev/mine", Permissions: "r"}}})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, n := range nodes {
			found = found || n.Path == "/dev/mine" && n.Major == 1 && n.Minor == 3
		}
		if !found {
			t.Errorf("privileged %v: the device is not there", privileged)
		}
	}
}
