package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func withUsers(s *SandboxSpec) { s.UserNamespace = true }

// TestUserNamespace: root of the container is nobody on the host, owns its root filesystem and its mounts, and rules its own
// namespaces only.
func TestUserNamespace(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared PID namespace %v", shared), func(t *testing.T) {
			b := newBed(t)
			s := b.sandbox("a", withUsers, func(s *SandboxSpec) {
				s.SharedPID = shared
				s.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1"}
			})
			volume := t.TempDir()
			if err := os.Chmod(volume, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(volume, "secret"), []byte("content\n"), 0o400); err != nil {
				t.Fatal(err)
			}
			spec := b.shell("c", `cat /proc/self/uid_map; id -u; hostname; sysctl -n net.ipv4.ip_unprivileged_port_start kernel.shm_rmid_forced
cat /vol/secret; echo new > /vol/new; chown 1000:2000 /vol/new; echo mine > /mine; touch /dev/shm/x; ls -ln /dev/shm/x | grep -c ' 0  *0 '
echo to stdout > /dev/stdout; echo 1 > /dev/null; exec sleep 1000`)
			spec.Mounts = []Mount{{Source: volume, Destination: "/vol"}}
			spec.Volumes = []string{"/data"}
			b.start("a", spec)
			want := fmt.Sprintf("%10d %10d %10d\n0\ntest-a\n7\n1\ncontent\n1\nto stdout\n", 0, s.Users.Base, 65536)
			eventually(t, "it says what it is to say", func() bool { return b.logText("c") == want || t.Failed() })
			c, _ := b.Container("c")
			var st unix.Stat_t
			if err := unix.Stat(fmt.Sprintf("/proc/%d", c.PID), &st); err != nil || st.Uid != s.Users.Base {
				t.Errorf("the process has uid %d on the host, %v", st.Uid, err)
			}
			if err := unix.Stat(filepath.Join(volume, "new"), &st); err != nil || st.Uid != 1000 || st.Gid != 2000 {
				t.Errorf("the volume's new file is of %d:%d, %v", st.Uid, st.Gid, err)
			}
			if err := unix.Stat(filepath.Join(b.cfg.StateDir, "../snapshots/c/rootfs/mine"), &st); err != nil || st.Uid != s.Users.Base {
				t.Errorf("the root filesystem's new file is of %d, %v", st.Uid, err)
			}
			if code, out, errOut, err := b.run("c", script("id -u; echo out > /dev/stdout; cat /proc/self/uid_map; echo 1 2>/dev/null > /proc/sys/kernel/panic && echo wrote")); err != nil || code == 0 ||
				out != fmt.Sprintf("0\nout\n%10d %10d %10d\n", 0, s.Users.Base, 65536) {
				t.Errorf("exec: %d %q %q %v", code, out, errOut, err)
			}
			tty := script("tty; id -u")
			tty.TTY = true
			if code, out, _, err := b.run("c", tty); code != 0 || err != nil || !strings.Contains(out, "/dev/pts/") {
				t.Errorf("exec with terminal: %d %q %v", code, out, err)
			}
			// Another user, and a second container of the same sandbox.
			spec = b.shell("d", "id -u; id -G; echo ok > /dev/stdout; ls /vol 2>&1 | grep -c denied")
			spec.UID, spec.GID, spec.Groups = 1000, 1000, []uint32{3000}
			spec.Mounts = []Mount{{Source: volume, Destination: "/vol", ReadOnly: true}}
			b.start("a", spec)
			if c, log := b.wait("d"), b.logText("d"); !strings.HasPrefix(log, "1000\n1000 3000\nok\n") || !strings.HasSuffix(log, "1\n") {
				t.Errorf("%d %q", c.ExitCode, log)
			}
		})
	}
}

// TestUserNamespaceRanges: no two sandboxes have the same ids, also not after a restart of the daemon.
func TestUserNamespaceRanges(t *testing.T) {
	b := newBed(t)
	one, two := b.sandbox("one", withUsers), b.sandbox("two", withUsers)
	if one.Users == nil || two.Users == nil || one.Users.Base == two.Users.Base || one.Users.Base < 65536 || one.Users.Base%65536 != 0 {
		t.Fatalf("%+v %+v", one.Users, two.Users)
	}
	if err := b.RemoveSandbox(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.exe.Close()
	b.open()
	if again, _ := b.Sandbox("two"); again.Users == nil || *again.Users != *two.Users {
		t.Errorf("after a restart %+v, before %+v", again.Users, two.Users)
	}
	if three := b.sandbox("three", withUsers); three.Users.Base != one.Users.Base {
		t.Errorf("%d is not used again: %d", one.Users.Base, three.Users.Base)
	}
	if out := b.output("two", b.shell("c", "cat /proc/self/uid_map")); !strings.Contains(out, fmt.Sprint(two.Users.Base)) {
		t.Errorf("%q", out)
	}
}

func TestGivenIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("# comment\nalice:100000:65536\nbroken:x:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := givenIDs(file, filepath.Join(t.TempDir(), "none"))
	for base, want := range map[uint32]bool{65536: true, 131072: true, 196608: false} {
		if r.overlaps(base) != want {
			t.Errorf("%d: %v", base, !want)
		}
	}
}
