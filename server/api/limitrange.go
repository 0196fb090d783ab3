package api

import (
	corev1 "k8s.io/api/core/v1"
)

func limitRange() *Kind {
	return &Kind{
		Kind: "LimitRange", Plural: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"}, Namespaced: true,
		Versions: []Version{typed[corev1.LimitRange, corev1.LimitRangeList]("", "v1")},
		Prefix:   "/registry/limitranges",
		Strategy: Strategy{
			Default: do(func(l *corev1.LimitRange) {
				for i := range l.Spec.Limits {
					defaultLimit(&l.Spec.Limits[i])
				}
			}),
			Validate:                 one(validateLimitRange),
			ValidateUpdate:           pair(func(l, _ *corev1.LimitRange) fieldErrors { return validateLimitRange(l) }),
			AllowCreateOnUpdate:      true,
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{createdAt()},
	}
}

// defaultLimit: for containers, the default limit is the maximum, the default request the default limit or the minimum.
func defaultLimit(l *corev1.LimitRangeItem) {
	for _, r := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		roundUp(r)
	}
	if l.Type != corev1.LimitTypeContainer {
		return
	}
	fill := func(to *corev1.ResourceList, from corev1.ResourceList) {
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		for name, q := range from {
			if _, ok := (*to)[name]; !ok {
				(*to)[name] = q.DeepCopy()
			}
		}
	}
	fill(&l.Default, l.Max)
	fill(&l.DefaultRequest, l.Default)
	fill(&l.DefaultRequest, l.Min)
}
