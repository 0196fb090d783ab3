package registrytest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

// Kinds are small versions of the core kinds.
func Kinds() []*api.Kind {
	return []*api.Kind{
		Pod(), Namespace(),
		Plain("ConfigMap", "configmaps", true, func() api.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} }),
		Plain("Secret", "secrets", true, func() api.Object { return &corev1.Secret{} }, func() runtime.Object { return &corev1.SecretList{} }),
		Plain("ServiceAccount", "serviceaccounts", true, func() api.Object { return &corev1.ServiceAccount{} }, func() runtime.Object { return &corev1.ServiceAccountList{} }),
		Plain("Service", "services", true, func() api.Object { return &corev1.Service{} }, func() runtime.Object { return &corev1.ServiceList{} }),
		Plain("Node", "nodes", false, func() api.Object { return &corev1.Node{} }, func() runtime.Object { return &corev1.NodeList{} }),
		Plain("LimitRange", "limitranges", true, func() api.Object { return &corev1.LimitRange{} }, func() runtime.Object { return &corev1.LimitRangeList{} }),
		Plain("ResourceQuota", "resourcequotas", true, func() api.Object { return &corev1.ResourceQuota{} }, func() runtime.Object { return &corev1.ResourceQuotaList{} }),
		Widget(),
	}
}

// Plain is a kind of group "" without rules.
func Plain(kind, plural string, namespaced bool, one func() api.Object, list func() runtime.Object) *api.Kind {
	return &api.Kind{
		Kind: kind, Plural: plural, Namespaced: namespaced,
		Versions: []api.Version{{Version: "v1", New: one, NewList: list}},
		Prefix:   "/registry/" + plural,
		Strategy: api.Strategy{AllowUnconditionalUpdate: true},
		Subresources: []api.Subresource{
			{Name: "status", Verbs: []string{"get", "update", "patch"}, Inject: func(stored api.Object, _ runtime.Object) (api.Object, error) {
				return stored.DeepCopyObject().(api.Object), nil
			}},
			{Name: "token", Verbs: []string{"create"}},
		},
	}
}

// Pod has a grace period, a status, an index and selectable fields.
func Pod() *api.Kind {
	return &api.Kind{
		Kind: "Pod", Plural: "pods", Namespaced: true,
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Pod{} }, NewList: func() runtime.Object { return &corev1.PodList{} }}},
		Prefix:   "/registry/pods",
		Strategy: api.Strategy{
			AllowUnconditionalUpdate: true,
			PrepareCreate: func(o api.Object) {
				o.(*corev1.Pod).Status = corev1.PodStatus{Phase: corev1.PodPending}
				o.SetGeneration(1)
			},
			PrepareUpdate: func(o, p api.Object) {
				obj, old := o.(*corev1.Pod), p.(*corev1.Pod)
				obj.Status = old.Status
				if !apiequality.Semantic.DeepEqual(obj.Spec, old.Spec) {
					obj.Generation++
				}
			},
			Validate: func(o api.Object) field.ErrorList {
				if len(o.(*corev1.Pod).Spec.Containers) == 0 {
					return field.ErrorList{field.Required(field.NewPath("spec", "containers"), "")}
				}
				return nil
			},
			ValidateUpdate: func(o, p api.Object) field.ErrorList {
				if o.(*corev1.Pod).Spec.NodeName != p.(*corev1.Pod).Spec.NodeName {
					return field.ErrorList{field.Forbidden(field.NewPath("spec"), "pod updates may not change fields other than …")}
				}
				return nil
			},
			GracePeriod: podGrace,
		},
		Subresources: []api.Subresource{
			{Name: "resize", Verbs: []string{"get", "patch", "update"}, Inject: func(stored api.Object, sent runtime.Object) (api.Object, error) {
				next := stored.DeepCopyObject().(*corev1.Pod)
				next.Spec.Containers = sent.DeepCopyObject().(*corev1.Pod).Spec.Containers
				return next, nil
			}},
			{Name: "status", Verbs: []string{"get", "update", "patch"}, Inject: func(stored api.Object, sent runtime.Object) (api.Object, error) {
				pod, ok := sent.(*corev1.Pod)
				if !ok {
					return nil, fmt.Errorf("expected a Pod, got a %T", sent)
				}
				out := stored.DeepCopyObject().(*corev1.Pod)
				out.Status = *pod.Status.DeepCopy()
				return out, nil
			}},
			{Name: "binding", Verbs: []string{"create"}},
			{Name: "eviction", Verbs: []string{"create"}},
		},
		Fields: func(o api.Object) fields.Set {
			p := o.(*corev1.Pod)
			return fields.Set{"spec.nodeName": p.Spec.NodeName, "status.phase": string(p.Status.Phase)}
		},
		FieldNames: []string{"spec.nodeName", "status.phase"},
		Indexes: []api.Index{{Name: "spec.nodeName", Values: func(o api.Object) []string {
			if n := o.(*corev1.Pod).Spec.NodeName; n != "" {
				return []string{n}
			}
			return nil
		}}},
	}
}

func podGrace(o api.Object, asked *int64) int64 {
	p := o.(*corev1.Pod)
	if p.Spec.NodeName == "" {
		return 0
	}
	if asked != nil {
		return *asked
	}
	if p.Spec.TerminationGracePeriodSeconds != nil {
		return *p.Spec.TerminationGracePeriodSeconds
	}
	return 30
}

// Namespace has finalizers of its own, and a finalize subresource.
func Namespace() *api.Kind {
	return &api.Kind{
		Kind: "Namespace", Plural: "namespaces",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Namespace{} }, NewList: func() runtime.Object { return &corev1.NamespaceList{} }}},
		Prefix:   "/registry/namespaces",
		Strategy: api.Strategy{
			AllowUnconditionalUpdate: true,
			PrepareCreate: func(o api.Object) {
				ns := o.(*corev1.Namespace)
				ns.Status.Phase = corev1.NamespaceActive
				ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
			},
			PrepareUpdate: func(o, p api.Object) {
				o.(*corev1.Namespace).Spec, o.(*corev1.Namespace).Status = p.(*corev1.Namespace).Spec, p.(*corev1.Namespace).Status
			},
		},
		Subresources: []api.Subresource{{Name: "finalize", Verbs: []string{"update"}, Inject: func(stored api.Object, sent runtime.Object) (api.Object, error) {
			out := stored.DeepCopyObject().(*corev1.Namespace)
			out.Spec.Finalizers = sent.(*corev1.Namespace).Spec.Finalizers
			return out, nil
		}}},
	}
}

// Widget is a custom kind.
func Widget() *api.Kind {
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	return &api.Kind{
		Group: gvk.Group, Kind: gvk.Kind, Plural: "widgets", Namespaced: true,
		Versions: []api.Version{{Group: gvk.Group, Version: gvk.Version,
			New: func() api.Object {
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(gvk)
				return u
			},
			NewList: func() runtime.Object { return &unstructured.UnstructuredList{} },
		}},
		Prefix: "/registry/example.com/widgets",
	}
}
