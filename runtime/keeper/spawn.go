package keeper

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the control socket's name in a sandbox's run directory.
const SocketName = "keeper.sock"

// spawnTimeout bounds how long a new keeper may take to make its namespaces.
const spawnTimeout = 30 * time.Second

// Spec of a new keeper.
type Spec struct {
	// ID of the sandbox; seen in ps.
	ID string
	// Executable to start.
	Executable string
	// Dir is the sandbox's run directory: keeper.sock and the exit files.
	Dir string
	// Join are the cgroup directories (one a hierarchy) the keeper moves itself into. Its creators stay there with it, so
	// they should not have the sandbox's limits.
	Join []string
	// Users, when not 0, asks for a user namespace to which the others belong: its 65536 ids are the host's from Users on.
	Users uint32
	// Namespaces are the CLONE_NEW* flags to unshare.
	Namespaces  int
	Hostname    string
	Sysctls     map[string]string
	SharedPID   bool
	OOMScoreAdj int
	// Reached is told the steps of Spawn, by tests that kill their process at each; nil otherwise.
	Reached func(step string)
}

func (s Spec) step(name string) {
	if s.Reached != nil {
		s.Reached(name)
	}
}

// config renders the spec as the keeper reads it: in the order in which it is applied.
func (s Spec) config() string {
	var b strings.Builder
	set := func(key, value string) { b.WriteString(key + "=" + value + "\x00") }
	for _, dir := range s.Join {
		set("join", dir)
	}
	set("oom", strconv.Itoa(s.OOMScoreAdj))
	if s.Users != 0 {
		set("users", strconv.FormatUint(uint64(s.Users), 10))
	}
	if s.Namespaces != 0 {
		set("unshare", strconv.Itoa(s.Namespaces))
	}
	if s.Namespaces&unix.CLONE_NEWNET != 0 {
		set("lo", "up")
	}
	if s.Hostname != "" && s.Namespaces&unix.CLONE_NEWUTS != 0 {
		set("hostname", s.Hostname)
	}
	keys := make([]string, 0, len(s.Sysctls))
	for k := range s.Sysctls {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		set("sysctl", SysctlPath(k)+"="+s.Sysctls[k])
	}
	if s.SharedPID {
		set("pid1", "1")
	}
	b.WriteString("end\x00")
	return b.String()
}

// SysctlPath returns the file of a sysctl, whose name may have dots or slashes as separators (as sysctl(8) reads them:
// the first separator decides).
func SysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return filepath.Join("/proc/sys", filepath.Clean("/"+name))
}

// Spawned is a new keeper: its pid, and that of process 1 of the shared PID namespace (0 without).
type Spawned struct {
	PID, PID1 int
	Process   *Process
}

// Spawn starts a keeper and returns when its namespaces are made. It is this process's child.
func Spawn(s Spec) (Spawned, error) {
	listener, dir, err := listen(s.Dir)
	if err != nil {
		return Spawned{}, err
	}
	defer listener.Close()
	defer dir.Close()
	s.step("keeper: its socket is made")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Spawned{}, fmt.Errorf("make socket for keeper of sandbox %s: %w", s.ID, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "config"), os.NewFile(uintptr(fds[1]), "config")
	defer ours.Close()
	p, err := os.StartProcess(s.Executable, []string{"skiff", "keeper", s.ID}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"_SKIFF_KEEPER=" + s.ID},
		Files: []*os.File{nil, nil, nil, theirs, listener, dir},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	theirs.Close()
	if err != nil {
		return Spawned{}, fmt.Errorf("start keeper of sandbox %s: %w", s.ID, err)
	}
	s.step("keeper: it is started")
	k := Spawned{PID: p.Pid}
	if k.Process, err = Find(p.Pid); err == nil {
		k.PID1, err = handshake(ours, s.config())
	}
	if err != nil {
		_ = p.Kill()
		_, _ = p.Wait()
		return Spawned{}, fmt.Errorf("set up sandbox %s: %w", s.ID, err)
	}
	_ = p.Release()
	return k, nil
}

// handshake sends the configuration and reads "OK <pid1>" or "ERR text".
func handshake(f *os.File, config string) (pid1 int, err error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(spawnTimeout))
	if _, err := io.WriteString(conn, config); err != nil {
		return 0, fmt.Errorf("send configuration: %w", err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return 0, err
	}
	reply, err := io.ReadAll(io.LimitReader(conn, 4096))
	if err != nil {
		return 0, fmt.Errorf("read the keeper's answer: %w", err)
	}
	word, rest, _ := strings.Cut(string(reply), " ")
	if word != "OK" {
		if rest == "" {
			rest = "the keeper ended without a word"
		}
		return 0, fmt.Errorf("%s", rest)
	}
	return strconv.Atoi(rest)
}

// listen makes the control socket, by way of the open directory: a socket's path may have only 107 bytes.
func listen(path string) (listener, dir *os.File, err error) {
	dir, err = os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open sandbox's run directory: %w", err)
	}
	_ = os.Remove(filepath.Join(path, SocketName))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)})
		if err == nil {
			err = unix.Listen(fd, 64)
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		dir.Close()
		return nil, nil, fmt.Errorf("listen on %s: %w", filepath.Join(path, SocketName), err)
	}
	return os.NewFile(uintptr(fd), SocketName), dir, nil
}
