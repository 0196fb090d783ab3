package admission

import (
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// customResourceLifecycle keeps new objects out of kinds whose definition is being deleted.
func customResourceLifecycle(c *Config) registry.Plugin {
	return registry.Plugin{Name: "CustomResourceLifecycle", Admit: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate || a.Kind.Convert == nil {
			return nil
		}
		d, ok := get[*apiextensionsv1.CustomResourceDefinition](c, "", a.Kind.Plural+"."+a.Kind.Group)
		if ok && d.DeletionTimestamp != nil {
			return forbidden(a, "create not allowed while custom resource definition is terminating")
		}
		return nil
	}}
}
