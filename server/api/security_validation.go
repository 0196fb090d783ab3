package api

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sysctlName: segments apart by dots or slashes, at most 253 characters.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *check) id(at *field.Path, id *int64, valid func(int64) []string) {
	if id != nil {
		c.invalid(at, *id, valid(*id)...)
	}
}

func (c *check) podSecurityContext(at *field.Path, sc *corev1.PodSecurityContext, s *corev1.PodSpec) {
	if sc == nil {
		return
	}
	c.id(at.Child("fsGroup"), sc.FSGroup, validation.IsValidGroupID)
	c.id(at.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID)
	c.id(at.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID)
	for i, g := range sc.SupplementalGroups {
		c.invalid(at.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g)...)
	}
	names := once{}
	for i, ctl := range sc.Sysctls {
		path := at.Child("sysctls").Index(i).Child("name")
		if !c.needs(path, ctl.Name) {
			continue
		}
		if len(ctl.Name) > 253 || !sysctlName.MatchString(ctl.Name) {
			c.invalid(path, ctl.Name, "must have at most 253 characters and match regex "+sysctlName.String())
		} else {
			names.add(c, path, ctl.Name)
		}
		switch name := strings.ReplaceAll(ctl.Name, "/", "."); {
		case s.HostNetwork && strings.HasPrefix(name, "net."):
			c.invalid(path, ctl.Name, "may not be specified when 'hostNetwork' is true")
		case s.HostIPC && isIPCSysctl(name):
			c.invalid(path, ctl.Name, "may not be specified when 'hostIPC' is true")
		}
	}
	if p := sc.FSGroupChangePolicy; p != nil {
		oneOf(c, at.Child("fsGroupChangePolicy"), *p, corev1.FSGroupChangeOnRootMismatch, corev1.FSGroupChangeAlways)
	}
	if p := sc.SupplementalGroupsPolicy; p != nil {
		oneOf(c, at.Child("supplementalGroupsPolicy"), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	c.profiles(at, sc.SeccompProfile, sc.AppArmorProfile)
}

func isIPCSysctl(name string) bool {
	for _, p := range []string{"kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (c *check) profiles(at *field.Path, seccomp *corev1.SeccompProfile, apparmor *corev1.AppArmorProfile) {
	if p := seccomp; p != nil {
		path := at.Child("seccompProfile")
		if p.Type == "" {
			c.required(path.Child("type"), "type is required when seccompProfile is set")
		}
		oneOfIfSet(c, path.Child("type"), p.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
		switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
		case local && p.LocalhostProfile == nil:
			c.required(path.Child("localhostProfile"), "must be set when seccomp type is Localhost")
		case local:
			c.descendingPath(path.Child("localhostProfile"), *p.LocalhostProfile)
		case p.LocalhostProfile != nil:
			c.invalid(path.Child("localhostProfile"), *p.LocalhostProfile, "can only be set when seccomp type is Localhost")
		}
	}
	if p := apparmor; p != nil {
		path := at.Child("appArmorProfile")
		oneOf(c, path.Child("type"), p.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
		switch local := p.Type == corev1.AppArmorProfileTypeLocalhost; {
		case local && p.LocalhostProfile == nil:
			c.required(path.Child("localhostProfile"), "must be set when AppArmor type is Localhost")
		case !local && p.LocalhostProfile != nil:
			c.invalid(path.Child("localhostProfile"), *p.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	}
}

func (c *check) securityContext(at *field.Path, sc *corev1.SecurityContext, hostUsers bool) {
	if sc == nil {
		return
	}
	c.id(at.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID)
	c.id(at.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID)
	if p := sc.ProcMount; p != nil {
		oneOf(c, at.Child("procMount"), *p, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if hostUsers && *p == corev1.UnmaskedProcMount {
			c.invalid(at.Child("procMount"), *p, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	c.profiles(at, sc.SeccompProfile, sc.AppArmorProfile)
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		return
	}
	if deref(sc.Privileged) {
		c.invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	}
	if sc.Capabilities != nil {
		for _, name := range sc.Capabilities.Add {
			if name == "CAP_SYS_ADMIN" {
				c.invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
			}
		}
	}
}
