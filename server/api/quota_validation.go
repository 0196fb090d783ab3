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
		hugePages := isHugePages(n) || strings.HasPrefix(string(n), corev1.ResourceRequestsHugePagesPrefix)
		if plain && !hugePages && !slices.Contains(quotaResources, n) {
			c.invalid(path, n, "must be a standard resource for quota")
		}
		c.resourceValue(path, n, l[n])
	}
}

func validateResourceQuota(q *corev1.ResourceQuota) fieldErrors {
	c, spec := &check{}, at("spec")
	c.quotaList(spec.Child("hard"), q.Spec.Hard)
	all := map[corev1.ResourceQuotaScope]bool{}
	for _, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			c.invalid(spec.Child("scopes"), q.Spec.Scopes, "unsupported scope")
		}
		c.scopeFits(spec.Child("scopes"), s, q.Spec.Hard)
		all[s] = true
	}
	if q.Spec.ScopeSelector != nil {
		path := spec.Child("scopeSelector", "matchExpressions")
		for _, r := range q.Spec.ScopeSelector.MatchExpressions {
			c.scopeRequirement(path, r)
			c.scopeFits(path, r.ScopeName, q.Spec.Hard)
			all[r.ScopeName] = true
		}
	}
	if all[corev1.ResourceQuotaScopeBestEffort] && all[corev1.ResourceQuotaScopeNotBestEffort] ||
		all[corev1.ResourceQuotaScopeTerminating] && all[corev1.ResourceQuotaScopeNotTerminating] {
		c.invalid(spec.Child("scopes"), q.Spec.Scopes, "conflicting scopes")
	}
	return c.errs
}

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// scopeFits: scopes select pods, so they go with what pods use; best effort pods use nothing but a place.
func (c *check) scopeFits(at *field.Path, s corev1.ResourceQuotaScope, hard corev1.ResourceList) {
	for _, n := range sortedKeys(hard) {
		ofPods := n == corev1.ResourcePods || slices.Contains(containerResources, n) ||
			strings.HasPrefix(string(n), "limits.") || strings.HasPrefix(string(n), "requests.") && n != corev1.ResourceRequestsStorage
		bad := !ofPods
		switch s {
		case corev1.ResourceQuotaScopeBestEffort:
			bad = n != corev1.ResourcePods
		case corev1.ResourceQuotaScopeVolumeAttributesClass:
			bad = n != corev1.ResourcePersistentVolumeClaims && n != corev1.ResourceRequestsStorage
		}
		if slices.Contains(quotaResources, n) && bad {
			c.invalid(at, s, "unsupported scope applied to resource")
		}
	}
}

func (c *check) scopeRequirement(at *field.Path, r corev1.ScopedResourceSelectorRequirement) {
	if !slices.Contains(quotaScopes, r.ScopeName) {
		c.invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
	}
	if r.ScopeName != corev1.ResourceQuotaScopePriorityClass && r.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass && r.Operator != corev1.ScopeSelectorOpExists {
		c.invalid(at.Child("operator"), r.Operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
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
