// Package quota says what an object takes from a ResourceQuota. Admission and the controller that writes a quota's status
// both add up by it, each over its own snapshot. Its funcs are pure.
package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/server/api"
)

var one = *resource.NewQuantity(1, resource.DecimalSI)

// plainCounts are the kinds that a quota may count by their plural alone; pods are counted apart.
var plainCounts = []string{"services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims"}

// countName is how a quota names the number of objects of a kind: count/deployments.apps.
func countName(k *api.Kind) corev1.ResourceName {
	return corev1.ResourceName("count/" + k.GroupResource().String())
}

// UsageOf is what one object takes from a quota.
func UsageOf(k *api.Kind, obj runtime.Object) corev1.ResourceList {
	usage := corev1.ResourceList{countName(k): one}
	if k.Group == "" && slices.Contains(plainCounts, k.Plural) {
		usage[corev1.ResourceName(k.Plural)] = one
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		addPod(usage, o)
	case *corev1.Service:
		addService(usage, o)
	case *corev1.PersistentVolumeClaim:
		if storage, ok := o.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			usage[corev1.ResourceRequestsStorage] = storage
			if class := o.Spec.StorageClassName; class != nil && *class != "" {
				usage[corev1.ResourceName(*class+".storageclass.storage.k8s.io/requests.storage")] = storage
			}
		}
		if class := o.Spec.StorageClassName; class != nil && *class != "" {
			usage[corev1.ResourceName(*class+".storageclass.storage.k8s.io/persistentvolumeclaims")] = one
		}
	}
	return usage
}

// addPod: a pod that has ended uses nothing but its place in the count of objects.
func addPod(usage corev1.ResourceList, p *corev1.Pod) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	usage[corev1.ResourcePods] = one
	for name, amount := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}) {
		usage["requests."+name] = amount
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
			usage[name] = amount
		}
	}
	for name, amount := range resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{}) {
		usage["limits."+name] = amount
	}
}

func addService(usage corev1.ResourceList, s *corev1.Service) {
	var ports int64
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports++
		}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		usage[corev1.ResourceServicesLoadBalancers] = one
	}
	if ports > 0 {
		usage[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	}
}

// UsesAny tells whether objects of a kind can use any of the resources.
func UsesAny(k *api.Kind, asked corev1.ResourceList) bool {
	if !k.Namespaced || k.Virtual {
		return false
	}
	for name := range asked {
		s := string(name)
		switch {
		case name == countName(k):
			return true
		case k.Group != "":
		case s == k.Plural, k.Plural == "services" && strings.HasPrefix(s, "services."), k.Plural == "pods" && isCompute(s),
			k.Plural == "persistentvolumeclaims" && (name == corev1.ResourceRequestsStorage || strings.Contains(s, ".storageclass.storage.k8s.io/")):
			return true
		}
	}
	return false
}

func isCompute(s string) bool {
	return s == "cpu" || s == "memory" || s == "ephemeral-storage" || strings.HasPrefix(s, "limits.") ||
		strings.HasPrefix(s, "requests.") && s != string(corev1.ResourceRequestsStorage)
}

// InScope tells whether a quota speaks of an object; one with scopes speaks of pods only.
func InScope(quota *corev1.ResourceQuota, obj runtime.Object) bool {
	var wanted []corev1.ScopedResourceSelectorRequirement
	for _, scope := range quota.Spec.Scopes {
		wanted = append(wanted, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
	}
	if quota.Spec.ScopeSelector != nil {
		wanted = append(wanted, quota.Spec.ScopeSelector.MatchExpressions...)
	}
	pod, isPod := obj.(*corev1.Pod)
	for _, req := range wanted {
		if !isPod || !matches(pod, req) {
			return false
		}
	}
	return true
}

func matches(pod *corev1.Pod, req corev1.ScopedResourceSelectorRequirement) bool {
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
		have := slices.Contains(req.Values, pod.Spec.PriorityClassName)
		switch req.Operator {
		case corev1.ScopeSelectorOpIn:
			return have
		case corev1.ScopeSelectorOpNotIn:
			return !have
		}
		return (pod.Spec.PriorityClassName != "") == (req.Operator == corev1.ScopeSelectorOpExists)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return slices.ContainsFunc(affinityTerms(pod), func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
	}
	return false
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

// bestEffort: a pod that asks for nothing. Its class of service is in the status once it is stored.
func bestEffort(pod *corev1.Pod) bool {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	}
	asks := func(r *corev1.ResourceRequirements) bool { return len(r.Requests)+len(r.Limits) > 0 }
	if pod.Spec.Resources != nil && asks(pod.Spec.Resources) {
		return false
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if asks(&containers[i].Resources) {
				return false
			}
		}
	}
	return true
}
