// Package validatingadmissionpolicy checks the expressions of ValidatingAdmissionPolicies against the fields of the kinds
// that they are about, and writes what it finds into the policy's status. Nothing depends on it but people: a policy with
// warnings is applied like any other.
package validatingadmissionpolicy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// maxTypes that one policy is checked against.
const maxTypes = 10

// New returns the controller; its keys are names of policies.
func New() controller.Controller {
	return controller.Controller{
		Name: "validatingadmissionpolicy-status-controller",
		Inputs: []controller.Input{{Kind: &admissionv1.ValidatingAdmissionPolicy{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if p := e.Object.(*admissionv1.ValidatingAdmissionPolicy); e.Type != store.Deleted && p.Status.ObservedGeneration != p.Generation {
				return []string{p.Name}
			}
			return nil
		}}},
		Reconcile: reconcile,
	}
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	s := c.Snapshot()
	p, ok := client.Get[*admissionv1.ValidatingAdmissionPolicy](s, "", key)
	if !ok || p.Status.ObservedGeneration == p.Generation {
		return controller.Result{}, nil
	}
	warnings, err := check(s.Catalogue(), p)
	if err != nil {
		return controller.Result{}, fmt.Errorf("check the types of policy %s: %w", key, err)
	}
	_, err = client.Change(ctx, c, p, "status", func(next *admissionv1.ValidatingAdmissionPolicy) {
		next.Status.ObservedGeneration = p.Generation
		next.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: warnings}
	})
	if controller.IgnoreGone(err) != nil {
		return controller.Result{}, fmt.Errorf("policy %s: %w", key, err)
	}
	return controller.Result{}, nil
}

// checked is a kind that a policy is about, and its compiler.
type checked struct {
	gvk      schema.GroupVersionKind
	compiler *cel.Compiler
}

// check finds the mistakes in a policy's expressions.
func check(catalogue *api.Catalogue, p *admissionv1.ValidatingAdmissionPolicy) (out []admissionv1.ExpressionWarning, err error) {
	kinds, err := compilers(catalogue, p)
	if err != nil {
		return nil, err
	}
	look := func(expression, field string) {
		var texts []string
		for _, k := range kinds {
			if err := k.compiler.Compile(expression, cel.Options{}, cel.Any).Err(); err != nil {
				texts = append(texts, fmt.Sprintf("%v: %s\n", k.gvk, err.Detail))
			}
		}
		if len(texts) > 0 {
			out = append(out, admissionv1.ExpressionWarning{FieldRef: field, Warning: strings.Join(texts, "\n")})
		}
	}
	for i, v := range p.Spec.Validations {
		look(v.Expression, fmt.Sprintf("spec.validations[%d].expression", i))
		if v.MessageExpression != "" {
			look(v.MessageExpression, fmt.Sprintf("spec.validations[%d].messageExpression", i))
		}
	}
	return out, nil
}

func compilers(catalogue *api.Catalogue, p *admissionv1.ValidatingAdmissionPolicy) (out []checked, err error) {
	var params *cel.ObjectType
	if k := p.Spec.ParamKind; k != nil {
		params = typeOf(catalogue, schema.FromAPIVersionAndKind(k.APIVersion, k.Kind), "params")
	}
	for _, gvk := range about(catalogue, p) {
		object := typeOf(catalogue, gvk, "object")
		if object == nil {
			continue
		}
		compiler, err := cel.NewTypeChecker(object, params, p.Spec.ParamKind != nil)
		if err != nil {
			return nil, err
		}
		for _, v := range p.Spec.Variables {
			compiler.Variable(v.Name, v.Expression, cel.Options{})
		}
		out = append(out, checked{gvk, compiler})
	}
	return out, nil
}

// typeOf describes a kind; nil if there is none.
func typeOf(catalogue *api.Catalogue, gvk schema.GroupVersionKind, name string) *cel.ObjectType {
	kind, version := catalogue.ByKind(gvk)
	if kind == nil {
		return nil
	}
	name += "." + gvk.Kind
	if version.Schema != nil {
		return cel.TypeOfSchema(version.Schema(), name)
	}
	obj := version.New()
	if _, custom := obj.(runtime.Unstructured); custom {
		return nil
	}
	return cel.TypeOf(obj, name)
}

// about are the kinds that a policy names without wildcards, sorted.
func about(catalogue *api.Catalogue, p *admissionv1.ValidatingAdmissionPolicy) (out []schema.GroupVersionKind) {
	if p.Spec.MatchConstraints == nil {
		return nil
	}
	for i := range p.Spec.MatchConstraints.ResourceRules {
		rule := &p.Spec.MatchConstraints.ResourceRules[i].Rule
		for _, group := range rule.APIGroups {
			for _, version := range rule.APIVersions {
				for _, resource := range rule.Resources {
					kind, _ := catalogue.ByResource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource})
					if gvk := (schema.GroupVersionKind{Group: group, Version: version}); kind != nil && len(out) < maxTypes {
						if gvk.Kind = kind.Kind; !slices.Contains(out, gvk) {
							out = append(out, gvk)
						}
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}
