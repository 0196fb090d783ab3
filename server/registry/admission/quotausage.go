package admission

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

// plainCounts are the kinds that quotas have always counted by their plural alone.
var plainCounts = []string{"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims"}

// countName is how a quota names the number of objects of a kind: count/deployments.apps.
func countName(k *api.Kind) corev1.ResourceName {
	if k.Group == "" {
		return corev1.ResourceName("count/" + k.Plural)
	}
	return corev1.ResourceName("count/" + k.Plural + "." + k.Group)
}

// usageOf is what one object takes from a quota.
func usageOf(k *api.Kind, obj runtime.Object) corev1.ResourceList {
	usage := corev1.ResourceList{countName(k): one}
	switch o := obj.(type) {
	case *corev1.Pod:
		podUsage(usage, o)
		return usage
	case *corev1.Service:
		serviceUsage(usage, o)
	case *corev1.PersistentVolumeClaim:
		if storage, ok := o.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			usage[corev1.ResourceRequestsStorage] = storage
		}
	}
	if k.Group == "" && slices.Contains(plainCounts, k.Plural) {
		usage[corev1.ResourceName(k.Plural)] = one
	}
	return usage
}

// podUsage: a pod that has ended uses nothing but its place in the count of objects.
func podUsage(usage corev1.ResourceList, p *corev1.Pod) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	usage[corev1.ResourcePods] = one
	for name, amount := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}) {
		usage["requests."+name] = amount
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			usage[name] = amount
		}
	}
	for name, amount := range resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{}) {
		usage["limits."+name] = amount
	}
}

func serviceUsage(usage corev1.ResourceList, s *corev1.Service) {
	ports := 0
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports++
		}
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		usage[corev1.ResourceServicesLoadBalancers] = one
		usage[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(int64(ports), resource.DecimalSI)
	case corev1.ServiceTypeNodePort:
		usage[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(int64(ports), resource.DecimalSI)
	}
}

// kindsOf are the kinds whose objects use any of the resources.
func kindsOf(c *api.Catalogue, asked corev1.ResourceList) []*api.Kind {
	var out []*api.Kind
	for _, k := range c.Kinds() {
		if k.Namespaced && !k.Virtual && usesAny(k, asked) {
			out = append(out, k)
		}
	}
	return out
}

func usesAny(k *api.Kind, asked corev1.ResourceList) bool {
	for name := range asked {
		s := string(name)
		switch {
		case name == countName(k):
			return true
		case k.Group != "":
		case s == k.Plural, k.Plural == "services" && strings.HasPrefix(s, "services."),
			k.Plural == "persistentvolumeclaims" && name == corev1.ResourceRequestsStorage,
			k.Plural == "pods" && isCompute(s):
			return true
		}
	}
	return false
}

func isCompute(s string) bool {
	return s == "cpu" || s == "memory" || s == "ephemeral-storage" || strings.HasPrefix(s, "limits.") ||
		strings.HasPrefix(s, "requests.") && s != string(corev1.ResourceRequestsStorage)
}

// inScope says whether a quota speaks of a pod; one without scopes speaks of everything.
func inScope(quota *corev1.ResourceQuota, pod *corev1.Pod) bool {
	for _, scope := range quota.Spec.Scopes {
		if pod == nil || !matchesScope(pod, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}) {
			return false
		}
	}
	if quota.Spec.ScopeSelector == nil {
		return true
	}
	for _, req := range quota.Spec.ScopeSelector.MatchExpressions {
		if pod == nil || !matchesScope(pod, req) {
			return false
		}
	}
	return true
}

func matchesScope(pod *corev1.Pod, req corev1.ScopedResourceSelectorRequirement) bool {
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
		case corev1.ScopeSelectorOpDoesNotExist:
			return pod.Spec.PriorityClassName == ""
		}
		return pod.Spec.PriorityClassName != ""
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossNamespace(pod)
	}
	return false
}

func bestEffort(pod *corev1.Pod) bool {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			if len(c.Resources.Requests)+len(c.Resources.Limits) > 0 {
				return false
			}
		}
	}
	return true
}

func crossNamespace(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	if a := pod.Spec.Affinity.PodAffinity; a != nil {
		terms = append(terms, a.RequiredDuringSchedulingIgnoredDuringExecution...)
		for _, w := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if a := pod.Spec.Affinity.PodAntiAffinity; a != nil {
		terms = append(terms, a.RequiredDuringSchedulingIgnoredDuringExecution...)
		for _, w := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	for _, t := range terms {
		if len(t.Namespaces) > 0 || t.NamespaceSelector != nil {
			return true
		}
	}
	return false
}
