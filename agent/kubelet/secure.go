package kubelet

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/snapshot"
)

// defaultCapabilities of a container, as runtimes have given them since Docker.
var defaultCapabilities = []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}

// allCapabilities that Linux has.
var allCapabilities = append([]string{"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	"CAP_DAC_READ_SEARCH", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE",
	"CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
	"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM"}, defaultCapabilities...)

// secure fills user, capabilities and the rest of the security context. Errors become CreateContainerConfigError.
func (w *worker) secure(spec *container.ContainerSpec, pod *corev1.Pod, c *corev1.Container, img *image.Image) error {
	sc := c.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	psc := pod.Spec.SecurityContext
	if psc == nil {
		psc = &corev1.PodSecurityContext{}
	}
	if err := user(spec, pod, c, sc, psc, img); err != nil {
		return err
	}
	spec.Privileged = sc.Privileged != nil && *sc.Privileged
	spec.ReadonlyRootfs = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	spec.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation && !spec.Privileged
	spec.Capabilities = capabilities(sc.Capabilities, spec.Privileged)
	if spec.Privileged || sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount {
		spec.MaskedPaths, spec.ReadonlyPaths = []string{}, []string{}
	}
	profile := sc.SeccompProfile
	if profile == nil {
		profile = psc.SeccompProfile
	}
	spec.Seccomp = "unconfined"
	switch {
	case spec.Privileged:
	case profile == nil && w.k.cfg.SeccompDefault, profile != nil && profile.Type == corev1.SeccompProfileTypeRuntimeDefault:
		spec.Seccomp = "runtime/default"
	case profile != nil && profile.Type == corev1.SeccompProfileTypeLocalhost:
		if profile.LocalhostProfile == nil || !filepath.IsLocal(*profile.LocalhostProfile) {
			return errors.New("localhostProfile must be set to a relative path if seccompProfile type is Localhost")
		}
		spec.Seccomp = filepath.Join(w.k.cfg.Paths.Data, "agent", "seccomp", *profile.LocalhostProfile)
	}
	labels := sc.SELinuxOptions
	if labels == nil {
		labels = psc.SELinuxOptions
	}
	if labels != nil {
		spec.SELinux = &container.SELinux{User: labels.User, Role: labels.Role, Type: labels.Type, Level: labels.Level}
	}
	var err error
	if spec.AppArmor, err = w.k.armor.profile(pod, c); err != nil {
		return fmt.Errorf("cannot enforce AppArmor: %w", err)
	}
	return nil
}

func capabilities(c *corev1.Capabilities, privileged bool) []string {
	if privileged {
		return allCapabilities
	}
	have := slices.Clone(defaultCapabilities)
	if c == nil {
		return have
	}
	full := func(n corev1.Capability) string {
		s := strings.ToUpper(string(n))
		if !strings.HasPrefix(s, "CAP_") {
			s = "CAP_" + s
		}
		return s
	}
	for _, n := range c.Add {
		if full(n) == "CAP_ALL" {
			have = slices.Clone(allCapabilities)
		}
	}
	for _, n := range c.Drop {
		if full(n) == "CAP_ALL" {
			have = nil
		}
	}
	for _, n := range c.Add {
		if s := full(n); s != "CAP_ALL" && !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	for _, n := range c.Drop {
		have = slices.DeleteFunc(have, func(s string) bool { return s == full(n) })
	}
	return have
}

// user resolves who the container runs as.
func user(spec *container.ContainerSpec, pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext, psc *corev1.PodSecurityContext, img *image.Image) error {
	name, group, _ := strings.Cut(img.User, ":")
	uid, fromPod := int64(0), false
	numeric := true
	switch {
	case sc.RunAsUser != nil:
		uid, fromPod = *sc.RunAsUser, true
	case psc.RunAsUser != nil:
		uid, fromPod = *psc.RunAsUser, true
	case name != "":
		n, err := strconv.ParseUint(name, 10, 31)
		numeric, uid = err == nil, int64(n)
	}
	if err := nonRoot(pod, c, sc, psc, uid, fromPod, numeric, name); err != nil {
		return err
	}
	db, err := snapshot.ReadAccounts(img.Layers)
	if err != nil {
		return err
	}
	if !numeric {
		u, ok := db.ByName(name)
		if !ok {
			return fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
		}
		uid = int64(u.UID)
	}
	account, known := db.ByID(uint32(uid))
	gid := uint32(0)
	switch {
	case sc.RunAsGroup != nil:
		gid = uint32(*sc.RunAsGroup)
	case psc.RunAsGroup != nil:
		gid = uint32(*psc.RunAsGroup)
	case !fromPod && group != "":
		g, ok := db.Group(group)
		if !ok {
			return fmt.Errorf("unable to find group %s: no matching entries in group file", group)
		}
		gid = g
	case known:
		gid = account.GID
	}
	spec.UID, spec.GID = uint32(uid), gid
	add := func(g uint32) {
		if !slices.Contains(spec.Groups, g) {
			spec.Groups = append(spec.Groups, g)
		}
	}
	// The primary group is among the supplementary ones, as in upstream's runtimes: without it a setgid program, whose own group
	// is another, could read what this group is forbidden.
	add(gid)
	if p := psc.SupplementalGroupsPolicy; known && (p == nil || *p == corev1.SupplementalGroupsPolicyMerge) {
		for _, g := range db.Memberships(account.Name) {
			add(g)
		}
	}
	for _, g := range psc.SupplementalGroups {
		add(uint32(g))
	}
	if psc.FSGroup != nil {
		add(uint32(*psc.FSGroup))
	}
	return nil
}

// nonRoot enforces runAsNonRoot, in the words that users search for.
func nonRoot(pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext, psc *corev1.PodSecurityContext, uid int64, fromPod, numeric bool, name string) error {
	must := sc.RunAsNonRoot
	if must == nil {
		must = psc.RunAsNonRoot
	}
	if must == nil || !*must {
		return nil
	}
	where := fmt.Sprintf("(pod: \"%s_%s(%s)\", container: %s)", pod.Name, pod.Namespace, pod.UID, c.Name)
	switch {
	case fromPod && uid == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case !numeric:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, where)
	case uid == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	return nil
}
