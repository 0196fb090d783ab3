package kubelet

import (
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/runtime/container"
)

// armor is what the host says of AppArmor.
type armor struct {
	enabled bool
	// loaded lists the names of the profiles in the kernel; an error: nobody can tell.
	loaded func() (map[string]bool, error)
}

// hostArmor asks the kernel. Whether it has AppArmor does not change while it runs; which profiles are loaded does.
func hostArmor() armor {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return armor{enabled: err == nil && strings.HasPrefix(string(b), "Y"), loaded: loadedProfiles}
}

func loadedProfiles() (map[string]bool, error) {
	b, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return nil, fmt.Errorf("list the AppArmor profiles: %w", err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if i := strings.LastIndex(line, " ("); i > 0 { // name (mode)
			out[line[:i]] = true
		}
	}
	return out, nil
}

// admit refuses a pod whose profile this host cannot enforce.
func (a armor) admit(pod *corev1.Pod) (v *plan.Verdict) {
	each(pod, func(c *corev1.Container, _ kind) {
		if _, err := a.profile(pod, c); err != nil && v == nil {
			v = reject("AppArmor", "Cannot enforce AppArmor: %v", err)
		}
	})
	return v
}

// profile of a container, as the runtime names it; "" for none. What says nothing gets the runtime's own where there is AppArmor, as upstream's
// runtimes do it.
func (a armor) profile(pod *corev1.Pod, c *corev1.Container) (string, error) {
	want := armorOf(pod, c)
	privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	switch {
	case want == nil && (privileged || !a.enabled):
		return "", nil
	case want == nil:
		return container.AppArmorDefaultIfPossible, nil
	case want.Type == corev1.AppArmorProfileTypeUnconfined:
		return "", nil // as the daemon, which nothing confines
	case !a.enabled:
		return "", errors.New("AppArmor is not enabled on the host")
	case want.Type == corev1.AppArmorProfileTypeRuntimeDefault && privileged:
		return "", nil // as containerd: a privileged container is not confined by default
	case want.Type == corev1.AppArmorProfileTypeRuntimeDefault:
		return container.AppArmorDefault, nil
	case want.LocalhostProfile == nil || strings.TrimSpace(*want.LocalhostProfile) == "":
		return "", errors.New("invalid empty AppArmor profile name")
	}
	name := *want.LocalhostProfile
	loaded, err := a.loaded()
	if err != nil {
		return "", err
	}
	if !loaded[name] {
		return "", fmt.Errorf("profile %q is not loaded", name)
	}
	return name, nil
}

// armorOf is the profile that a container asks for: its own, its pod's, or that of the annotation which older manifests carry.
func armorOf(pod *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if sc := c.SecurityContext; sc != nil && sc.AppArmorProfile != nil {
		return sc.AppArmorProfile
	}
	if value, ok := pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]; ok {
		local, isLocal := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
		switch {
		case isLocal:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &local}
		case value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
		case value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}
	}
	if psc := pod.Spec.SecurityContext; psc != nil {
		return psc.AppArmorProfile
	}
	return nil
}
