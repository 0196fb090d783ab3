package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompProfile returns the filter that a container asks for; nil is none.
func seccompProfile(spec ContainerSpec) (*configs.Seccomp, error) {
	if spec.Privileged || spec.Seccomp == "" || spec.Seccomp == "unconfined" {
		return nil, nil
	}
	if !seccomp.Enabled {
		return nil, fmt.Errorf("seccomp profile %s: this executable was built without seccomp (build tag seccomp, libseccomp)", spec.Seccomp)
	}
	profile := defaultSeccomp(spec.Capabilities)
	if spec.Seccomp != "runtime/default" {
		b, err := os.ReadFile(spec.Seccomp)
		if err != nil {
			return nil, fmt.Errorf("read seccomp profile: %w", err)
		}
		profile = &specs.LinuxSeccomp{}
		if err := json.Unmarshal(b, profile); err != nil {
			return nil, fmt.Errorf("seccomp profile %s: %w", spec.Seccomp, err)
		}
		if profile.DefaultAction == "" {
			return nil, fmt.Errorf("seccomp profile %s: no defaultAction", spec.Seccomp)
		}
	}
	out, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile %s: %w", spec.Seccomp, err)
	}
	if out == nil {
		return nil, errors.New("seccomp profile is empty")
	}
	return out, nil
}

// defaultSeccomp is runtime/default: what programs need is allowed, the rest gets EPERM. System calls that a capability
// guards anyway are allowed with that capability.
func defaultSeccomp(caps []string) *specs.LinuxSeccomp {
	eperm, enosys := uint(unix.EPERM), uint(unix.ENOSYS)
	allow := func(names ...string) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
	}
	allowIf := func(name string, index uint, value uint64, op specs.LinuxSeccompOperator) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: index, Value: value, Op: op}}}
	}
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: seccompArchitectures()}
	p.Syscalls = append(p.Syscalls, allow(allowedSyscalls...))
	// Only the personalities that change nothing of security: Linux, Linux with 32-bit uname, and asking.
	for _, value := range []uint64{0x0, 0x0008, 0x20000, 0x20008, 0xffffffff} {
		p.Syscalls = append(p.Syscalls, allowIf("personality", 0, value, specs.OpEqualTo))
	}
	// Not from vsock: it reaches the hypervisor's host, past every network namespace.
	p.Syscalls = append(p.Syscalls, allowIf("socket", 0, unix.AF_VSOCK, specs.OpNotEqual))
	for _, c := range caps {
		if names := capabilitySyscalls[c]; len(names) > 0 {
			p.Syscalls = append(p.Syscalls, allow(names...))
		}
	}
	if slices.Contains(caps, "CAP_SYS_ADMIN") {
		return p
	}
	// clone may not make namespaces; clone3 hides its flags behind a pointer, so libc is told to use clone.
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID |
		unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	p.Syscalls = append(p.Syscalls,
		specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: namespaces, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
		specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return p
}

func seccompArchitectures() []specs.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	default:
		return nil
	}
}

// capabilitySyscalls are allowed to who has the capability.
var capabilitySyscalls = map[string][]string{
	"CAP_BPF":             {"bpf"},
	"CAP_DAC_READ_SEARCH": {"open_by_handle_at"},
	"CAP_PERFMON":         {"perf_event_open"},
	"CAP_SYSLOG":          {"syslog"},
	"CAP_SYS_ADMIN": {
		"bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
		"mount_setattr", "move_mount", "open_tree", "open_tree_attr", "perf_event_open", "quotactl", "quotactl_fd",
		"setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare",
	},
	"CAP_SYS_BOOT":       {"reboot"},
	"CAP_SYS_CHROOT":     {"chroot"},
	"CAP_SYS_MODULE":     {"delete_module", "finit_module", "init_module"},
	"CAP_SYS_NICE":       {"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"},
	"CAP_SYS_PACCT":      {"acct"},
	"CAP_SYS_PTRACE":     {"kcmp", "process_madvise"},
	"CAP_SYS_RAWIO":      {"ioperm", "iopl"},
	"CAP_SYS_TIME":       {"clock_settime", "clock_settime64", "settimeofday", "stime"},
	"CAP_SYS_TTY_CONFIG": {"vhangup"},
}
