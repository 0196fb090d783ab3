package container

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/runc/libcontainer/apparmor"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
)

// Values of ContainerSpec.AppArmor beside names of loaded profiles.
const (
	// AppArmorDefault is the runtime's own profile; a container that asks for it does not start without.
	AppArmorDefault = "runtime/default"
	// AppArmorDefaultIfPossible is the same where it can be loaded (AppArmor and apparmor_parser), and nothing elsewhere.
	AppArmorDefaultIfPossible = "runtime/default-if-possible"
)

// SELinux are the parts of a process label that the caller chooses; what is empty comes from the host's policy for containers.
type SELinux struct{ User, Role, Type, Level string }

// confine sets the labels of the host's security modules.
func (m *Manager) confine(config *configs.Config, spec ContainerSpec) (err error) {
	if config.AppArmorProfile, err = m.armor.profile(spec.AppArmor); err != nil {
		return err
	}
	config.ProcessLabel, config.MountLabel, err = selinuxLabels(spec)
	return err
}

// selinuxLabels are empty on a host without SELinux, where the options mean nothing, as with upstream's runtimes. Only the process is
// labelled: files keep what the host's policy gave them.
func selinuxLabels(spec ContainerSpec) (process, mount string, err error) {
	if spec.SELinux == nil || spec.Privileged || !selinux.GetEnabled() {
		return "", "", nil
	}
	var options []string
	for _, o := range [][2]string{{"user", spec.SELinux.User}, {"role", spec.SELinux.Role}, {"type", spec.SELinux.Type}, {"level", spec.SELinux.Level}} {
		if o[1] != "" {
			options = append(options, o[0]+":"+o[1])
		}
	}
	if process, mount, err = label.InitLabels(options); err != nil {
		return "", "", fmt.Errorf("SELinux options: %w", err)
	}
	if process == "" {
		return "", "", errors.New("SELinux options: the policy of this host has no labels for containers (package container-selinux)")
	}
	return process, mount, nil
}

// armor loads the runtime's own AppArmor profile when it is first wanted.
type armor struct {
	log  *slog.Logger
	once sync.Once
	err  error
	// enabled and load are the host's; tests have their own.
	enabled func() bool
	load    func(profile string) error
}

func newArmor(log *slog.Logger) *armor {
	return &armor{log: log, enabled: apparmor.IsEnabled, load: parseProfile}
}

// profile is what libcontainer is told; "" is none.
func (a *armor) profile(want string) (string, error) {
	switch {
	case want == "" || want == AppArmorDefaultIfPossible && !a.enabled():
		return "", nil
	case !a.enabled():
		return "", errors.New("AppArmor is not enabled on the host")
	case want != AppArmorDefault && want != AppArmorDefaultIfPossible:
		return want, nil
	}
	a.once.Do(func() {
		if a.err = a.load(defaultArmor(macros("/etc/apparmor.d"))); a.err != nil {
			a.log.Warn("cannot load the AppArmor profile for containers; those that do not ask for it run without", "err", a.err)
		}
	})
	if a.err == nil {
		return armorName, nil
	}
	if want == AppArmorDefaultIfPossible {
		return "", nil
	}
	return "", fmt.Errorf("load the default AppArmor profile: %w", a.err)
}

// parseProfile compiles the profile into the kernel, replacing one of an earlier start.
func parseProfile(profile string) error {
	cmd := exec.Command("apparmor_parser", "--skip-cache", "--replace")
	cmd.Stdin = strings.NewReader(profile)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apparmor_parser: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// macros says which of the distribution's macro files there are.
func macros(dir string) (tunables, base bool) {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	return has("tunables/global"), has("abstractions/base")
}

const armorName = "skiff-default"

// defaultArmor is the profile of a container that is not privileged: it may use files, network and its capabilities, but neither mounts
// nor writes to the kernel's own files, and sends signals to and traces only containers. (Masked and read-only paths say the same of most
// files; the profile also holds for a container that got past those.)
func defaultArmor(tunables, base bool) string {
	var b strings.Builder
	if tunables {
		b.WriteString("#include <tunables/global>\n")
	} else {
		b.WriteString("@{PROC}=/proc/\n")
	}
	fmt.Fprintf(&b, "profile %s flags=(attach_disconnected,mediate_deleted) {\n", armorName)
	if base {
		b.WriteString("  #include <abstractions/base>\n")
	}
	for _, rule := range []string{
		"network", "capability", "file", "umount",
		"signal (receive) peer=unconfined", "signal (send,receive) peer=" + armorName,
		"ptrace (trace,read,tracedby,readby) peer=" + armorName,
		"deny mount", // a capability alone must not be enough
		"deny @{PROC}/* w", "deny @{PROC}/sys/[^kn]** w", "deny @{PROC}/sys/kernel/[^smn]** w", "deny @{PROC}/sys/kernel/modprobe w",
		"deny @{PROC}/sysrq-trigger rwklx", "deny @{PROC}/kcore rwklx", "deny @{PROC}/mem rwklx", "deny @{PROC}/kmem rwklx",
		"deny /sys/[^f]*/** wklx", "deny /sys/f[^s]*/** wklx", "deny /sys/fs/[^c]*/** wklx", "deny /sys/fs/c[^g]*/** wklx",
		"deny /sys/firmware/** rwklx", "deny /sys/devices/virtual/powercap/** rwklx", "deny /sys/kernel/security/** rwklx",
	} {
		b.WriteString("  " + rule + ",\n")
	}
	b.WriteString("}\n")
	return b.String()
}
