package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/settings"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
)

// covered refuses what uses more of a resource that nobody may use without a quota, where the namespace has no quota
// that speaks of it (the plugin's configuration names such resources).
func (q *quotas) covered(a *registry.Attributes) error {
	limits := q.Settings.LimitedResources
	if !slices.ContainsFunc(limits, func(l settings.LimitedResource) bool { return concernsKind(&l, a) }) {
		return nil
	}
	mine := q.chargeOf(a)
	used := mine.Growth(&corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: mine.NewUsage}})
	if len(used) == 0 {
		return nil
	}
	var quotas []*corev1.ResourceQuota
	for _, quota := range list[*corev1.ResourceQuota](q.Config, q.Store.Snapshot(), a.Namespace) {
		if rules.InScope(quota, mine.New) {
			quotas = append(quotas, quota)
		}
	}
	for i := range limits {
		if !concernsKind(&limits[i], a) {
			continue
		}
		if names := uncoveredNames(&limits[i], mine.NewUsage, quotas); len(names) > 0 {
			return forbidden(a, "insufficient quota to consume: %v", strings.Join(names, ","))
		}
		if scopes := uncoveredScopes(&limits[i], mine, quotas); len(scopes) > 0 {
			return forbidden(a, "insufficient quota to match these scopes: %v", scopes)
		}
	}
	return nil
}

func concernsKind(l *settings.LimitedResource, a *registry.Attributes) bool {
	return l.APIGroup == a.Kind.Group && l.Resource == a.Kind.Plural
}

// uncoveredNames are the limited resources that an object uses and no quota has.
func uncoveredNames(l *settings.LimitedResource, usage corev1.ResourceList, quotas []*corev1.ResourceQuota) (names []string) {
	for name := range usage {
		limited := slices.ContainsFunc(l.MatchContains, func(part string) bool { return strings.Contains(string(name), part) })
		has := func(quota *corev1.ResourceQuota) bool { _, ok := quota.Spec.Hard[name]; return ok }
		if limited && !slices.ContainsFunc(quotas, has) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// uncoveredScopes are the limited scopes that an object is in and no quota has.
func uncoveredScopes(l *settings.LimitedResource, mine *charge, quotas []*corev1.ResourceQuota) (scopes []string) {
	for _, scope := range l.MatchScopes {
		one := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{scope}}}}
		if !rules.InScope(one, mine.New) {
			continue
		}
		has := func(quota *corev1.ResourceQuota) bool { return hasScope(quota, scope.ScopeName) }
		if !slices.ContainsFunc(quotas, has) {
			scopes = append(scopes, fmt.Sprintf("{%s %s %v}", scope.ScopeName, scope.Operator, scope.Values))
		}
	}
	return scopes
}

func hasScope(quota *corev1.ResourceQuota, name corev1.ResourceQuotaScope) bool {
	if slices.Contains(quota.Spec.Scopes, name) {
		return true
	}
	s := quota.Spec.ScopeSelector
	return s != nil && slices.ContainsFunc(s.MatchExpressions, func(r corev1.ScopedResourceSelectorRequirement) bool { return r.ScopeName == name })
}
