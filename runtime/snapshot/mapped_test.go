package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// newUsers makes a user namespace whose ids begin at base, until the test ends.
func newUsers(t *testing.T, base uint32) *rootpath.Users {
	t.Helper()
	c := exec.Command("sleep", "1000")
	ids := []syscall.SysProcIDMap{{HostID: int(base), Size: 65536}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	if err := c.Start(); err != nil {
		t.Skipf("no user namespaces here: %v", err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	path := t.TempDir() + "/userns"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/user", c.Process.Pid), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, 0) })
	return &rootpath.Users{Base: base, Namespace: path}
}

// TestMapped: the layers' owners are shifted, what is changed stays so, and the image and the host see nothing of it.
func TestMapped(t *testing.T) {
	for _, n := range []int{0, 1, 130} {
		s, id := setup(t, n)
		users := newUsers(t, 196608)
		rootfs, err := s.Prepare(context.Background(), "c1", id, users)
		if err != nil {
			t.Fatal(err)
		}
		owner := func(path string) uint32 {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			return st.Uid
		}
		if got := owner(rootfs); got != users.Base {
			t.Errorf("%d layers: the root directory is of %d", n, got)
		}
		if n > 0 {
			if got := owner(rootfs + "/last"); got != users.Base {
				t.Errorf("a file of the image is of %d", got)
			}
			if err := os.Chmod(rootfs+"/last", 0o600); err != nil { // copied up
				t.Fatal(err)
			}
			if got := owner(rootfs + "/last"); got != users.Base {
				t.Errorf("when it is changed it is of %d", got)
			}
			if got := owner(s.images.Get(id).Layers[n-1] + "/last"); got != 0 {
				t.Errorf("the image's own is of %d", got)
			}
		}
		if again, err := s.Prepare(context.Background(), "c1", id, users); err != nil || again != rootfs {
			t.Errorf("again: %q %v", again, err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(mounts), " "+s.dir+"/c1/"); got != 1 {
			t.Errorf("%d mounts below the store", got)
		}
	}
}
