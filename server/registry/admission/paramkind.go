package admission

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/registry"
)

// paramKinds lets only those write a policy who may read the parameters that it shows to its expressions.
func paramKinds(c *Config) registry.Plugin {
	return registry.Plugin{Name: "AdmissionPolicyParamKind", Validate: func(ctx context.Context, a *registry.Attributes) error {
		now, was := paramKindOf(a.Object), paramKindOf(a.Old)
		if c.Authorizer == nil || a.User == nil || now == nil || a.Subresource != "" || was != nil && *was == *now {
			return nil
		}
		ask := authorizer.AttributesRecord{Verb: "get", Name: "*", Namespace: "*", APIGroup: "*", APIVersion: "*", Resource: "*"}
		if gv, err := schema.ParseGroupVersion(now.APIVersion); err == nil {
			ask.APIGroup, ask.APIVersion = gv.Group, gv.Version
			if kind, _ := c.Catalogue.ByKind(gv.WithKind(now.Kind)); kind != nil {
				ask.Resource = kind.Plural
			}
		}
		may, _, err := c.may(ctx, a, ask)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		if !may {
			return invalidParamKind(a, fmt.Sprintf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, a.User, now.Kind, now.APIVersion))
		}
		return nil
	}}
}

// paramKindOf is the kind of a policy's parameters; nil if it has none, or is no policy.
func paramKindOf(obj runtime.Object) *admissionv1.ParamKind {
	switch p := obj.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return p.Spec.ParamKind
	case *admissionv1.MutatingAdmissionPolicy:
		return p.Spec.ParamKind
	}
	return nil
}

func invalidParamKind(a *registry.Attributes, text string) error {
	return apierrors.NewInvalid(groupKind(a.Kind), a.Name, field.ErrorList{field.Forbidden(field.NewPath("spec", "paramKind"), text)})
}
