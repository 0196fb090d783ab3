package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
)

// InScope tells whether a quota speaks of an object. One with scopes speaks only of pods, or of volume claims, and an
// object must be in every scope.
func InScope(quota *corev1.ResourceQuota, obj runtime.Object) bool {
	for _, scope := range quota.Spec.Scopes {
		if !matches(obj, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}) {
			return false
		}
	}
	if s := quota.Spec.ScopeSelector; s != nil {
		return !slices.ContainsFunc(s.MatchExpressions, func(r corev1.ScopedResourceSelectorRequirement) bool { return !matches(obj, r) })
	}
	return true
}

func matches(obj runtime.Object, req corev1.ScopedResourceSelectorRequirement) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		return podMatches(o, req)
	case *corev1.PersistentVolumeClaim:
		return req.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && selects(req, attributesClasses(o))
	}
	return false
}

func podMatches(pod *corev1.Pod, req corev1.ScopedResourceSelectorRequirement) bool {
	switch req.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return pod.Spec.ActiveDeadlineSeconds != nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return pod.Spec.ActiveDeadlineSeconds == nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod)
	case corev1.ResourceQuotaScopePriorityClass:
		var class []string
		if pod.Spec.PriorityClassName != "" {
			class = []string{pod.Spec.PriorityClassName}
		}
		return selects(req, class)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return slices.ContainsFunc(affinityTerms(pod), func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
	}
	return false
}

// selects tells whether a requirement holds for one of the names, as for the value of a label; no names are a missing label.
func selects(req corev1.ScopedResourceSelectorRequirement, names []string) bool {
	in := func(name string) bool { return slices.Contains(req.Values, name) }
	switch req.Operator {
	case corev1.ScopeSelectorOpIn:
		return slices.ContainsFunc(names, in)
	case corev1.ScopeSelectorOpNotIn:
		return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !in(name) })
	case corev1.ScopeSelectorOpExists:
		return len(names) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(names) == 0
	}
	return false
}

// SameScopes tells whether an update leaves an object in the scopes in which it was. What scopes look at never changes
// in a pod, except its deadline.
func SameScopes(old, obj runtime.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		was, ok := old.(*corev1.Pod)
		return !ok || (o.Spec.ActiveDeadlineSeconds == nil) == (was.Spec.ActiveDeadlineSeconds == nil)
	case *corev1.PersistentVolumeClaim:
		was, ok := old.(*corev1.PersistentVolumeClaim)
		return !ok || slices.Equal(attributesClasses(o), attributesClasses(was))
	}
	return true
}

func affinityTerms(pod *corev1.Pod) (terms []corev1.PodAffinityTerm) {
	a := pod.Spec.Affinity
	if a == nil {
		return nil
	}
	weighted := func(list []corev1.WeightedPodAffinityTerm) {
		for _, w := range list {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if a.PodAffinity != nil {
		terms = append(terms, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a.PodAntiAffinity != nil {
		terms = append(terms, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return terms
}

// bestEffort: the class of service is in the status once a pod is stored.
func bestEffort(pod *corev1.Pod) bool {
	class := pod.Status.QOSClass
	if class == "" {
		class = api.PodQOS(pod)
	}
	return class == corev1.PodQOSBestEffort
}
