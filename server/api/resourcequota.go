package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func resourceQuota() *Kind {
	column := func(name, description string, limits bool) Column {
		return str(name, description, func(q *corev1.ResourceQuota) string { return quotaUse(q, limits) })
	}
	return &Kind{
		Kind: "ResourceQuota", Plural: "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"}, Namespaced: true,
		Versions: []Version{typed[corev1.ResourceQuota, corev1.ResourceQuotaList]("", "v1")},
		Prefix:   "/registry/resourcequotas",
		Strategy: Strategy{
			Default: do(func(q *corev1.ResourceQuota) {
				roundUp(q.Spec.Hard)
				roundUp(q.Status.Hard)
				roundUp(q.Status.Used)
			}),
			PrepareCreate:            do(func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} }),
			PrepareUpdate:            doPair(func(q, old *corev1.ResourceQuota) { q.Status = old.Status }),
			Validate:                 one(validateResourceQuota),
			ValidateUpdate:           pair(validateResourceQuotaUpdate),
			Warnings:                 pair(resourceQuotaWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *corev1.ResourceQuota) { to.Status = from.Status }, validateResourceQuotaStatus)},
		Columns:      []Column{column("Request", "used and allowed: requests and counts", false), column("Limit", "used and allowed: limits", true), age()},
	}
}

func quotaUse(q *corev1.ResourceQuota, limits bool) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		if strings.HasPrefix(string(name), "limits.") == limits {
			used, hard := q.Status.Used[name], q.Status.Hard[name]
			out = append(out, fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String()))
		}
	}
	return strings.Join(out, ", ")
}
