package admission

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/registry"
)

// namespaceAutoProvision makes the namespace of a new object when there is none.
func namespaceAutoProvision(c *Config) (registry.Plugin, error) {
	if c.EnsureNamespace == nil {
		return registry.Plugin{}, errors.New("admission: NamespaceAutoProvision needs EnsureNamespace")
	}
	return registry.Plugin{Name: "NamespaceAutoProvision", Admit: func(ctx context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate || a.DryRun || !inNamespace(a) || c.namespaceExists(a.Namespace) {
			return nil
		}
		if err := c.EnsureNamespace(ctx, a.Namespace); err != nil {
			return forbidden(a, "%w", err)
		}
		return nil
	}}, nil
}

// namespaceExists refuses whatever is done in a namespace that does not exist; NamespaceLifecycle does so for new objects
// only.
func namespaceExists(c *Config) registry.Plugin {
	return registry.Plugin{Name: "NamespaceExists", Validate: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb == registry.VerbConnect || !inNamespace(a) || c.namespaceExists(a.Namespace) {
			return nil
		}
		return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
	}}
}

// inNamespace says whether a request is about something in a namespace.
func inNamespace(a *registry.Attributes) bool {
	return a.Namespace != "" && !(a.Kind.Group == "" && a.Kind.Kind == "Namespace")
}

func (c *Config) namespaceExists(name string) bool {
	_, ok := get[*corev1.Namespace](c, "", name)
	return ok
}
