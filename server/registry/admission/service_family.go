package admission

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// families settles ipFamilyPolicy and ipFamilies: from what the user says, from the addresses they name, and from what
// the cluster has.
func (t *allocation) families() error {
	spec := &t.svc.Spec
	if len(t.al.ranges) == 0 {
		return nil
	}
	t.defaultPolicy()
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if err := t.checkReduction(single); err != nil {
		return err
	}
	if err := t.inferFamilies(); err != nil {
		return err
	}
	headless := spec.ClusterIP == corev1.ClusterIPNone
	if headless && len(spec.Selector) == 0 {
		// Its endpoints are written by hand and may be of any family, whatever the cluster has.
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []corev1.IPFamily{t.al.ranges[0].family}
		}
		if len(spec.IPFamilies) == 1 && !single {
			spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
		}
		return nil
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(t.al.ranges) < 2 {
		return t.invalid(field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if t.al.rangeOf(family) == nil {
			return t.invalid(field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{t.al.ranges[0].family}
	}
	if !single && len(spec.IPFamilies) == 1 && len(t.al.ranges) == 2 && !t.unchangedPreference() {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	return nil
}

func (t *allocation) defaultPolicy() {
	spec := &t.svc.Spec
	if spec.IPFamilyPolicy != nil {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case t.old != nil && t.old.Spec.IPFamilyPolicy != nil:
		policy = *t.old.Spec.IPFamilyPolicy
	case spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0:
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	spec.IPFamilyPolicy = &policy
}

// unchangedPreference: a PreferDualStack Service gets no second family because the cluster has got one, only when asked.
func (t *allocation) unchangedPreference() bool {
	return t.old != nil && *t.svc.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack &&
		t.old.Spec.IPFamilyPolicy != nil && *t.old.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack &&
		slices.Equal(t.old.Spec.IPFamilies, t.svc.Spec.IPFamilies)
}

// checkReduction: the second family goes by saying SingleStack, and only so.
func (t *allocation) checkReduction(single bool) error {
	spec, path := &t.svc.Spec, field.NewPath("spec", "ipFamilyPolicy")
	if single && t.old != nil {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, t.old.Spec.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, t.old.Spec.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1:1]
		}
	}
	var errs field.ErrorList
	if !single && t.old != nil {
		if len(spec.ClusterIPs) > 0 && len(spec.ClusterIPs) < len(t.old.Spec.ClusterIPs) {
			errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
		}
		if len(spec.IPFamilies) > 0 && len(spec.IPFamilies) < len(t.old.Spec.IPFamilies) {
			errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
		}
	}
	if single && len(spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if single && len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	if len(errs) > 0 {
		return t.invalid(errs...)
	}
	return nil
}

// inferFamilies adds the families of the addresses that the user names.
func (t *allocation) inferFamilies() error {
	spec := &t.svc.Spec
	named := spec.ClusterIPs
	if len(named) == 0 && spec.ClusterIP != "" {
		named = []string{spec.ClusterIP}
	}
	for i, s := range named {
		ip, err := netip.ParseAddr(s)
		if err != nil || i < len(spec.IPFamilies) {
			continue
		}
		family := familyOf(ip)
		if t.al.rangeOf(family) == nil {
			return t.invalid(field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), named, fmt.Sprintf("%s is not configured on this cluster", family)))
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
	return nil
}

func other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
