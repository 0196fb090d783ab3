package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/seccomp"
)

func TestMounts(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := b.shell("c", `
		cat /etc/one /deep/er/dir/file
		touch /ro/x 2>&1
		echo written > /rw/new
		touch /tmp/works && echo tmp works
		echo $(cat /deep/er/inner/file)
		touch /x 2>&1
		echo shared > /dev/shm/x
		cat /dev/mqueue 2>&1 | head -c 3; echo
		touch /sys/x 2>&1; echo 1 2>&1 > /proc/sys/kernel/panic; cat /proc/interrupts | wc -c
		for f in null zero full random urandom tty ptmx; do [ -e /dev/$f ] || echo no $f; done
		exit 0`)
	spec.ReadonlyRootfs = true
	os.Mkdir(filepath.Join(dir, "rw"), 0o777)
	spec.Mounts = []Mount{
		{Source: dir, Destination: "/deep/er/inner", ReadOnly: true},
		{Source: dir, Destination: "/deep/er/dir"},
		{Source: file, Destination: "/etc/one"},
		{Source: dir, Destination: "/ro", RecursiveReadOnly: true},
		{Source: filepath.Join(dir, "rw"), Destination: "/rw"},
		{Source: "tmpfs", Destination: "/tmp"},
	}
	out := b.output("a", spec)
	want := `content
content
touch: /ro/x: Read-only file system
tmp works
content
touch: /x: Read-only file system
cat`
	if !strings.HasPrefix(out, want) || !strings.Contains(out, "/sys/x: Read-only file system") ||
		!strings.Contains(out, "/proc/sys/kernel/panic: Read-only file system") || strings.Contains(out, "no ") || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("output:\n%s", out)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "rw/new")); string(got) != "written\n" {
		t.Errorf("volume has %q", got)
	}
	if out := b.output("a", b.shell("d", "cat /dev/shm/x; ls /dev/shm")); out != "shared\nx\n" {
		t.Errorf("/dev/shm is not shared: %q", out)
	}
}

// A destination that is a symbolic link out of the root filesystem must not reach the host.
func TestMountCannotEscape(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	outside := t.TempDir()
	root, err := b.cfg.Snapshots.Prepare(ctx, "c", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []struct{ target, name string }{{outside, "abs"}, {"../../../../../../../../.." + outside, "rel"}} {
		if err := os.Symlink(link.target, filepath.Join(root, link.name)); err != nil {
			t.Fatal(err)
		}
	}
	source := t.TempDir()
	spec := b.shell("c", "echo x > /abs/sub/file; echo y > /rel/sub2/file; exit 0")
	spec.Mounts = []Mount{{Source: source, Destination: "/abs/sub"}, {Source: source, Destination: "/rel/sub2"}}
	b.output("a", spec)
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("the host's folder has %v", entries)
	}
	if !exists(filepath.Join(source, "file")) {
		t.Error("the mount is not where the link points inside the root filesystem")
	}
}

func TestIdentity(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", `id -u; id -g; id -G; grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp|THP_enabled|SigIgn|SigBlk):" /proc/self/status; cat /proc/self/oom_score_adj; echo $HOME $PATH; pwd`)
	spec.UID, spec.GID, spec.Groups, spec.NoNewPrivileges, spec.OOMScoreAdj = 1234, 2345, []uint32{10, 20}, true, 900
	spec.Capabilities = []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE"}
	want := "1234\n2345\n2345 10 20\nTHP_enabled:\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000401\nNoNewPrivs:\t1\nSeccomp:\t0\n900\n/ /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/\n"
	if out := b.output("a", spec); out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	spec = b.shell("root", `grep -E "^(CapEff|CapPrm):" /proc/self/status`)
	spec.Capabilities = []string{"CAP_CHOWN"}
	if out := b.output("a", spec); out != "CapPrm:\t0000000000000001\nCapEff:\t0000000000000001\n" {
		t.Errorf("root has %q", out)
	}
}

func TestPrivileged(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "mount -t tmpfs x /tmp && echo mounted; [ -e /dev/kmsg ] && echo kmsg; [ -w /proc/sys/kernel ] && echo sys; mkdir /sys/fs/cgroup/memory/x 2>/dev/null; exit 0")
	spec.Privileged = true
	if out := b.output("a", spec); !strings.HasPrefix(out, "mounted\n") || !strings.HasSuffix(out, "sys\n") {
		t.Errorf("output %q", out)
	}
}

func TestSeccomp(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", `grep Seccomp: /proc/self/status; unshare -m true 2>&1; unshare -U true 2>&1; seq 3 | wc -l; exit 0`)
	spec.Seccomp = "runtime/default"
	if !seccomp.Enabled {
		if _, err := b.Start(ctx, "a", spec); err == nil || !strings.Contains(err.Error(), "without seccomp") {
			t.Error(err)
		}
		return
	}
	spec.Capabilities = []string{"CAP_SYS_CHROOT"}
	if out := b.output("a", spec); !strings.HasPrefix(out, "Seccomp:\t2\nunshare: unshare(0x20000): Operation not permitted\nunshare: ") || !strings.HasSuffix(out, "not permitted\n3\n") {
		t.Errorf("output %q", out)
	}
	profile := filepath.Join(t.TempDir(), "profile.json")
	os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":99}]}`), 0o600)
	spec = b.shell("d", "mkdir /x 2>&1; exit 0")
	spec.Seccomp = profile
	if out := b.output("a", spec); !strings.Contains(out, "assign requested address") { // errno 99
		t.Errorf("output %q", out)
	}
	spec = b.shell("e", "true")
	spec.Seccomp = "/nope.json"
	if _, err := b.Start(ctx, "a", spec); err == nil || !strings.Contains(err.Error(), "read seccomp profile") {
		t.Error(err)
	}
}

func TestNamespaces(t *testing.T) {
	b := newBed(t)
	read := func(sandbox, id string) map[string]string {
		c := b.start(sandbox, b.shell(id, "exec sleep 1000"))
		out := map[string]string{}
		for _, n := range []string{"net", "ipc", "uts", "pid", "mnt"} {
			out[n], _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID, n))
		}
		return out
	}
	host := map[string]string{}
	for _, n := range []string{"net", "ipc", "uts", "pid", "mnt"} {
		host[n], _ = os.Readlink("/proc/self/ns/" + n)
	}
	check := func(what string, a, b map[string]string, same string) {
		t.Helper()
		for _, n := range []string{"net", "ipc", "uts", "pid", "mnt"} {
			if a[n] == "" || (a[n] == b[n]) != strings.Contains(same, n) {
				t.Errorf("%s: %s: %s and %s", what, n, a[n], b[n])
			}
		}
	}
	b.sandbox("own")
	one, two := read("own", "one"), read("own", "two")
	check("own and host", one, host, "")
	check("two of a sandbox", one, two, "net ipc uts")

	b.sandbox("host", func(s *SandboxSpec) { s.HostNetwork, s.HostIPC, s.HostPID, s.Hostname = true, true, true, "" })
	check("host", read("host", "h"), host, "net ipc uts pid")

	b.sandbox("shared", func(s *SandboxSpec) { s.SharedPID = true })
	check("shared", read("shared", "s1"), read("shared", "s2"), "net ipc uts pid")

	b.start("own", b.shell("target", "exec sleep 1000"))
	joined := b.output("own", func() ContainerSpec {
		s := b.shell("debug", "ps")
		s.TargetContainer = "target"
		return s
	}())
	if !strings.Contains(joined, "sleep 1000") {
		t.Errorf("the target's processes are not seen: %q", joined)
	}
}

func TestSandboxSettings(t *testing.T) {
	b := newBed(t)
	b.sandbox("a", func(s *SandboxSpec) {
		s.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1"}
	})
	if out := b.output("a", b.shell("c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; ip addr show lo | grep -c 127.0.0.1")); out != "0\n1\n1\n" {
		t.Errorf("output %q", out)
	}
	for name, value := range map[string]string{"vm.swappiness": "1", "kernel.panic": "1", "net/../kernel/panic": "1", "net.nope": "1"} {
		_, err := b.CreateSandbox(ctx, SandboxSpec{ID: "bad", Sysctls: map[string]string{name: value}})
		if err == nil {
			t.Errorf("sysctl %s was let through", name)
		}
	}
	if _, ok := b.Sandbox("bad"); ok || exists(b.runDir("bad")) || exists(b.stateDir("bad")) {
		t.Error("a sandbox that could not be made is left behind")
	}
	if _, err := b.CreateSandbox(ctx, SandboxSpec{ID: "../evil"}); err == nil {
		t.Error("a bad id was let through")
	}
}

// TestImageVolumes: writable below a read-only root, and only where the caller mounts nothing.
func TestImageVolumes(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	own := t.TempDir()
	if err := os.WriteFile(own+"/mine", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := b.shell("c", "touch /data/x && ls /data /own; touch /y || echo read-only")
	c.ReadonlyRootfs, c.Volumes, c.Mounts = true, []string{"/data", "/own/"}, []Mount{{Source: own, Destination: "/own"}}
	if got := b.output("a", c); !strings.Contains(got, "/data:\nx\n") || !strings.Contains(got, "/own:\nmine\n") || !strings.Contains(got, "read-only\n") {
		t.Errorf("%q", got)
	}
	if got, _ := b.Container("c"); len(got.Spec.Mounts) != 1 {
		t.Errorf("its record has mounts %+v", got.Spec.Mounts)
	}
}

// TestSysIsEachContainersOwn: a privileged container can write to /sys beside one that cannot. The two share the file system, so what
// is written is what is there.
func TestSysIsEachContainersOwn(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("beside", "exec sleep 1000"))
	const script = "f=/sys/class/net/lo/tx_queue_len; n=$(cat $f); if echo $n > $f 2>/dev/null; then echo written; else echo refused; fi"
	plain := func(id string) {
		t.Helper()
		if got := b.output("a", b.shell(id, script)); !strings.Contains(got, "refused\n") {
			t.Errorf("%s: %q", id, got)
		}
	}
	plain("before")
	p := b.shell("privileged", script)
	p.Privileged, p.MaskedPaths, p.ReadonlyPaths = true, []string{}, []string{}
	if got := b.output("a", p); got != "written\n" {
		t.Errorf("privileged: %q", got)
	}
	plain("after")
	unmasked := b.shell("unmasked", script)
	unmasked.MaskedPaths, unmasked.ReadonlyPaths = []string{}, []string{}
	if got := b.output("a", unmasked); !strings.Contains(got, "refused\n") {
		t.Errorf("unmasked: %q", got)
	}
}
