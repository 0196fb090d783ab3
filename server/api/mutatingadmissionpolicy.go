package api

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/cel"
)

func mutatingAdmissionPolicy() *Kind {
	type kind = *admissionv1.MutatingAdmissionPolicy
	return &Kind{
		Group: admissionGroup, Kind: "MutatingAdmissionPolicy", Plural: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyList](admissionGroup, "v1")},
		Prefix:     "/registry/mutatingadmissionpolicies",
		Strategy: Strategy{
			Default: do(func(p kind) {
				unset(&p.Spec.FailurePolicy, admissionv1.Fail)
				defaultMatchResources(p.Spec.MatchConstraints)
			}),
			PrepareCreate:  created[kind](nil),
			PrepareUpdate:  updated(nil, func(p kind) any { return p.Spec }),
			Validate:       one(func(p kind) fieldErrors { return validateMutatingPolicy(p, nil) }),
			ValidateUpdate: pair(validateMutatingPolicy),
		},
		Columns: []Column{
			num("Mutations", "how many it has", func(p kind) int { return len(p.Spec.Mutations) }),
			str("ParamKind", "the kind of its parameters", func(p kind) string { return paramKindColumn(p.Spec.ParamKind) }),
			age(),
		},
	}
}

func mutatingAdmissionPolicyBinding() *Kind {
	type kind = *admissionv1.MutatingAdmissionPolicyBinding
	return &Kind{
		Group: admissionGroup, Kind: "MutatingAdmissionPolicyBinding", Plural: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.MutatingAdmissionPolicyBinding, admissionv1.MutatingAdmissionPolicyBindingList](admissionGroup, "v1")},
		Prefix:     "/registry/mutatingadmissionpolicybindings",
		Strategy: Strategy{
			Default:        do(func(b kind) { defaultMatchResources(b.Spec.MatchResources) }),
			PrepareCreate:  created[kind](nil),
			PrepareUpdate:  updated(nil, func(b kind) any { return b.Spec }),
			Validate:       one(validateMutatingBinding),
			ValidateUpdate: pair(func(b, _ kind) fieldErrors { return validateMutatingBinding(b) }),
		},
		Columns: []Column{
			str("PolicyName", "the policy it binds", func(b kind) string { return b.Spec.PolicyName }),
			str("ParamRef", "the parameters it gives", func(b kind) string { return paramRefColumn(b.Spec.ParamRef) }),
			age(),
		},
		Indexes: policyNameIndex(func(b kind) string { return b.Spec.PolicyName }),
	}
}

func validateMutatingPolicy(p, old *admissionv1.MutatingAdmissionPolicy) fieldErrors {
	c, spec, path := &check{}, &p.Spec, at("spec")
	x := expressions{c, map[string]bool{}}
	sameConditions := false
	if old != nil {
		x.knowMutations(&old.Spec)
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) &&
			apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	validatePolicyFrame(c, path, spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)
	if spec.MatchConstraints != nil {
		mutableOnly(c, path.Child("matchConstraints"), spec.MatchConstraints)
	}
	if !sameConditions {
		x.conditions(path.Child("matchConditions"), spec.MatchConditions, spec.ParamKind != nil)
	}
	if len(spec.Variables) > maxPolicyExpressions || len(spec.Mutations) > maxPolicyExpressions {
		c.add(field.TooMany(path, max(len(spec.Variables), len(spec.Mutations)), maxPolicyExpressions))
		return c.errs
	}
	compiler := x.policy(path, spec.ParamKind != nil)
	if compiler == nil {
		return c.errs
	}
	compiler.variables(path.Child("variables"), spec.Variables)
	if len(spec.Mutations) == 0 {
		c.required(path.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range spec.Mutations {
		compiler.mutation(path.Child("mutations").Index(i), &spec.Mutations[i])
	}
	oneOf(c, path.Child("reinvocationPolicy"), spec.ReinvocationPolicy, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	return c.errs
}

func (x expressions) knowMutations(spec *admissionv1.MutatingAdmissionPolicySpec) {
	x.knowConditions(spec.MatchConditions)
	for _, v := range spec.Variables {
		x.known[v.Expression] = true
	}
	for _, m := range spec.Mutations {
		if m.ApplyConfiguration != nil {
			x.known[strings.TrimSpace(m.ApplyConfiguration.Expression)] = true
		}
		if m.JSONPatch != nil {
			x.known[strings.TrimSpace(m.JSONPatch.Expression)] = true
		}
	}
}

func (p *policy) mutation(path *field.Path, m *admissionv1.Mutation) {
	apply, patch := path.Child("applyConfiguration"), path.Child("jsonPatch")
	switch m.PatchType {
	case "":
		p.required(path.Child("patchType"), "")
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			p.required(patch, "must be specified when patchType is JSONPatch")
		} else {
			p.patch(patch, m.JSONPatch.Expression, cel.JSONPatch)
		}
		if m.ApplyConfiguration != nil {
			p.invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			p.required(apply, "must be specified when patchType is ApplyConfiguration")
		} else {
			p.patch(apply, m.ApplyConfiguration.Expression, cel.ApplyConfiguration)
		}
		if m.JSONPatch != nil {
			p.invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		supported(p.check, path.Child("patchType"), &m.PatchType, []admissionv1.PatchType{admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch})
	}
}

func (p *policy) patch(path *field.Path, expression string, types cel.Types) {
	text := strings.TrimSpace(expression)
	if !p.needs(path.Child("expression"), text) {
		return
	}
	o := p.options()
	o.Patch = true
	p.expression(path.Child("expression"), text, o, types)
}

func validateMutatingBinding(b *admissionv1.MutatingAdmissionPolicyBinding) fieldErrors {
	c := &check{}
	validatePolicyBinding(c, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
	if b.Spec.MatchResources != nil {
		mutableOnly(c, at("spec", "matchResources"), b.Spec.MatchResources)
	}
	return c.errs
}
