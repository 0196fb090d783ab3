package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *check) quotaList(at *field.Path, l corev1.ResourceList) {
	for _, n := range sortedKeys(l) {
		path := at.Key(string(n))
		c.invalid(path, n, validation.IsQualifiedName(string(n))...)
		plain := !strings.Contains(string(n), "/")
		if plain && !isQuotaHugePages(n) && !slices.Contains(quotaResources, n) {
			c.invalid(path, n, "must be a standard resource for quota")
		}
		c.resourceValue(path, n, l[n])
	}
}

func isQuotaHugePages(n corev1.ResourceName) bool {
	return isHugePages(n) || strings.HasPrefix(string(n), corev1.ResourceRequestsHugePagesPrefix)
}

func validateResourceQuota(q *corev1.ResourceQuota) fieldErrors {
	c, spec := &check{}, at("spec")
	c.quotaList(spec.Child("hard"), q.Spec.Hard)
	for _, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			c.invalid(spec.Child("scopes"), q.Spec.Scopes, "unsupported scope")
		}
		c.scopeFits(spec.Child("scopes"), s, q.Spec.Hard, q.Spec.Scopes)
	}
	c.scopesAgree(spec.Child("scopes"), q.Spec.Scopes, q.Spec.Scopes)
	if sel := q.Spec.ScopeSelector; sel != nil {
		path := spec.Child("scopeSelector", "matchExpressions")
		var scopes []corev1.ResourceQuotaScope
		for _, r := range sel.MatchExpressions {
			c.scopeRequirement(path, r)
			c.scopeFits(path, r.ScopeName, q.Spec.Hard, sel)
			scopes = append(scopes, r.ScopeName)
		}
		c.scopesAgree(path, scopes, q.Spec.Scopes)
	}
	return append(c.errs, validateResourceQuotaStatus(q, nil)...)
}

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// podScoped are what a quota may limit that selects pods: upstream's list knows neither local storage nor huge pages.
var podScoped = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// scopeFits: a scope selects pods, or claims, so it goes with what those use; best effort pods use nothing but a place.
// shown is what the error says is wrong.
func (c *check) scopeFits(at *field.Path, s corev1.ResourceQuotaScope, hard corev1.ResourceList, shown any) {
	fits := podScoped
	switch s {
	case corev1.ResourceQuotaScopeBestEffort:
		fits = podScoped[:1]
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		fits = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	default:
		if !slices.Contains(quotaScopes, s) {
			return // said already
		}
	}
	for _, n := range sortedKeys(hard) {
		if (slices.Contains(quotaResources, n) || isQuotaHugePages(n)) && !slices.Contains(fits, n) {
			c.invalid(at, shown, "unsupported scope applied to resource")
		}
	}
}

func (c *check) scopesAgree(at *field.Path, scopes, shown []corev1.ResourceQuotaScope) {
	has := func(s corev1.ResourceQuotaScope) bool { return slices.Contains(scopes, s) }
	if has(corev1.ResourceQuotaScopeBestEffort) && has(corev1.ResourceQuotaScopeNotBestEffort) {
		c.invalid(at, shown, "conflicting scopes")
	}
	if has(corev1.ResourceQuotaScopeTerminating) && has(corev1.ResourceQuotaScopeNotTerminating) {
		c.invalid(at, shown, "conflicting scopes")
	}
}

func (c *check) scopeRequirement(at *field.Path, r corev1.ScopedResourceSelectorRequirement) {
	if !slices.Contains(quotaScopes, r.ScopeName) {
		c.invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
	}
	named := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
	if !named && slices.Contains(quotaScopes, r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
		c.invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
			"ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			c.required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			c.invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		c.invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
}

func validateResourceQuotaUpdate(q, old *corev1.ResourceQuota) fieldErrors {
	c := &check{errs: validateResourceQuota(q)}
	now, was := slices.Clone(q.Spec.Scopes), slices.Clone(old.Spec.Scopes)
	slices.Sort(now)
	slices.Sort(was)
	c.immutable(at("spec", "scopes"), now, was)
	return c.errs
}

func validateResourceQuotaStatus(q, _ *corev1.ResourceQuota) fieldErrors {
	c := &check{}
	c.quotaList(at("status", "hard"), q.Status.Hard)
	c.quotaList(at("status", "used"), q.Status.Used)
	return c.errs
}

func validateLimitRange(l *corev1.LimitRange) fieldErrors {
	c, types := &check{}, once{}
	for i := range l.Spec.Limits {
		item, path := &l.Spec.Limits[i], at("spec", "limits").Index(i)
		c.invalid(path.Child("type"), item.Type, validation.IsQualifiedName(string(item.Type))...)
		switch item.Type {
		case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		default:
			if !strings.Contains(string(item.Type), "/") {
				c.invalid(path.Child("type"), item.Type, "must be a standard limit type or fully qualified")
			}
		}
		types.add(c, path.Child("type"), string(item.Type))
		c.limit(path, item)
	}
	return c.errs
}

func (c *check) limit(at *field.Path, l *corev1.LimitRangeItem) {
	if l.Type == corev1.LimitTypePod {
		c.mayNotBeSet(at, "may not be specified when `type` is 'Pod'", map[string]bool{"default": len(l.Default) > 0, "defaultRequest": len(l.DefaultRequest) > 0})
	}
	names := map[corev1.ResourceName]bool{}
	for _, list := range []struct {
		name   string
		values corev1.ResourceList
	}{{"max", l.Max}, {"min", l.Min}, {"default", l.Default}, {"defaultRequest", l.DefaultRequest}, {"maxLimitRequestRatio", l.MaxLimitRequestRatio}} {
		for _, n := range sortedKeys(list.values) {
			path := at.Child(list.name).Key(string(n))
			if l.Type == corev1.LimitTypePod || l.Type == corev1.LimitTypeContainer {
				c.containerResourceName(path, n)
			} else if !strings.Contains(string(n), "/") && !slices.Contains(standardResources, n) && !isHugePages(n) {
				c.invalid(path, n, "must be a standard resource type or fully qualified")
			}
			names[n] = true
		}
	}
	if l.Type == corev1.LimitTypePersistentVolumeClaim {
		_, min := l.Min[corev1.ResourceStorage]
		_, max := l.Max[corev1.ResourceStorage]
		if !min && !max {
			c.required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	for _, n := range sortedKeys(names) {
		c.limitOrder(at, l, n)
	}
}

// limitOrder: minimum ≤ default request ≤ default limit ≤ maximum, as far as they are given.
func (c *check) limitOrder(at *field.Path, l *corev1.LimitRangeItem, n corev1.ResourceName) {
	ordered := func(a, b corev1.ResourceList, aName, bName, field string) {
		x, hasX := a[n]
		y, hasY := b[n]
		if hasX && hasY && x.Cmp(y) > 0 {
			c.invalid(at.Child(field).Key(string(n)), x.String(), fmt.Sprintf("%s value %s is greater than %s value %s", aName, x.String(), bName, y.String()))
		}
	}
	ordered(l.Min, l.Max, "min", "max", "min")
	ordered(l.Min, l.DefaultRequest, "min", "default request", "defaultRequest")
	ordered(l.DefaultRequest, l.Max, "default request", "max", "defaultRequest")
	ordered(l.DefaultRequest, l.Default, "default request", "default limit", "defaultRequest")
	ordered(l.Min, l.Default, "min", "default", "default")
	ordered(l.Default, l.Max, "default", "max", "default")
	ratio, ok := l.MaxLimitRequestRatio[n]
	if !ok {
		return
	}
	path := at.Child("maxLimitRequestRatio").Key(string(n))
	if ratio.Cmp(resource.MustParse("1")) < 0 {
		c.invalid(path, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	min, hasMin := l.Min[n]
	max, hasMax := l.Max[n]
	if hasMin && hasMax && min.Sign() > 0 {
		if widest := max.AsApproximateFloat64() / min.AsApproximateFloat64(); ratio.AsApproximateFloat64() > widest {
			c.invalid(path, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), widest))
		}
	}
}
