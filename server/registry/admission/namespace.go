package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// immortal namespaces hold what the cluster itself needs.
var immortal = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}

// namespaceLifecycle keeps new objects out of namespaces that do not exist or are ending, and the cluster's own alive.
func namespaceLifecycle(c *Config) registry.Plugin {
	return registry.Plugin{Name: "NamespaceLifecycle", Admit: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb == registry.VerbDelete {
			if isKind(a, "", "Namespace") && oneOf(a.Name, immortal) {
				return forbidden(a, "this namespace may not be deleted")
			}
			return nil
		}
		// What acts on an object that is there (a binding, an eviction, a token) creates nothing in the namespace.
		if a.Verb != registry.VerbCreate || !a.Kind.Namespaced || a.Kind.Virtual || a.Subresource != "" {
			return nil
		}
		ns, ok := get[*corev1.Namespace](c, "", a.Namespace)
		if !ok {
			return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
		}
		if api.IsTerminating(ns) {
			return api.NewNamespaceTerminating(a.Kind.GroupResource(), a.Name, a.Namespace)
		}
		return nil
	}}
}
