package api

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/cel"
)

func validatingAdmissionPolicy() *Kind {
	type kind = *admissionv1.ValidatingAdmissionPolicy
	return &Kind{
		Group: admissionGroup, Kind: "ValidatingAdmissionPolicy", Plural: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyList](admissionGroup, "v1")},
		Prefix:     "/registry/validatingadmissionpolicies",
		Strategy: Strategy{
			Default: do(func(p kind) {
				unset(&p.Spec.FailurePolicy, admissionv1.Fail)
				defaultMatchResources(p.Spec.MatchConstraints)
			}),
			PrepareCreate:  created(func(p kind) { p.Status = admissionv1.ValidatingAdmissionPolicyStatus{} }),
			PrepareUpdate:  updated(func(p, old kind) { p.Status = old.Status }, func(p kind) any { return p.Spec }),
			Validate:       one(func(p kind) fieldErrors { return validateValidatingPolicy(p, nil) }),
			ValidateUpdate: pair(validateValidatingPolicy),
		},
		Subresources: []Subresource{statusAlone(func(to, from kind) { to.Status = from.Status }, validateValidatingPolicyStatus)},
		Columns: []Column{
			num("Validations", "how many it has", func(p kind) int { return len(p.Spec.Validations) }),
			str("ParamKind", "the kind of its parameters", func(p kind) string { return paramKindColumn(p.Spec.ParamKind) }),
			age(),
		},
	}
}

func validatingAdmissionPolicyBinding() *Kind {
	type kind = *admissionv1.ValidatingAdmissionPolicyBinding
	return &Kind{
		Group: admissionGroup, Kind: "ValidatingAdmissionPolicyBinding", Plural: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1.ValidatingAdmissionPolicyBindingList](admissionGroup, "v1")},
		Prefix:     "/registry/validatingadmissionpolicybindings",
		Strategy: Strategy{
			Default:        do(func(b kind) { defaultMatchResources(b.Spec.MatchResources) }),
			PrepareCreate:  created[kind](nil),
			PrepareUpdate:  updated(nil, func(b kind) any { return b.Spec }),
			Validate:       one(validateValidatingBinding),
			ValidateUpdate: pair(func(b, _ kind) fieldErrors { return validateValidatingBinding(b) }),
		},
		Columns: []Column{
			str("PolicyName", "the policy it binds", func(b kind) string { return b.Spec.PolicyName }),
			str("ParamRef", "the parameters it gives", func(b kind) string { return paramRefColumn(b.Spec.ParamRef) }),
			age(),
		},
		Indexes: policyNameIndex(func(b kind) string { return b.Spec.PolicyName }),
	}
}

// IndexPolicyName finds the bindings of a policy.
const IndexPolicyName = "spec.policyName"

func policyNameIndex[T Object](name func(T) string) []Index {
	return []Index{{Name: IndexPolicyName, Values: func(o Object) []string { return []string{name(o.(T))} }}}
}

func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	unset(&m.MatchPolicy, admissionv1.Equivalent)
	unset(&m.NamespaceSelector, metav1.LabelSelector{})
	unset(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			unset(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}

func paramKindColumn(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRefColumn(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return "<unset>"
}

const (
	maxAuditAnnotations = 20
	maxAuditExpression  = 5 << 10
	// maxPolicyExpressions of one kind in one policy; upstream has no limit but the size of the object.
	maxPolicyExpressions = 1000
)

func validateValidatingPolicy(p, old *admissionv1.ValidatingAdmissionPolicy) fieldErrors {
	c, spec, path := &check{}, &p.Spec, at("spec")
	x := expressions{c, map[string]bool{}}
	sameConditions := false
	if old != nil {
		x.knowPolicy(&old.Spec)
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) &&
			apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	validatePolicyFrame(c, path, spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)
	if !sameConditions {
		x.conditions(path.Child("matchConditions"), spec.MatchConditions, spec.ParamKind != nil)
	}
	if len(spec.Variables) > maxPolicyExpressions || len(spec.Validations) > maxPolicyExpressions {
		c.add(field.TooMany(path, max(len(spec.Variables), len(spec.Validations)), maxPolicyExpressions))
		return c.errs
	}
	compiler := x.policy(path, spec.ParamKind != nil)
	if compiler == nil {
		return c.errs
	}
	compiler.variables(path.Child("variables"), spec.Variables)
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		c.required(path.Child("validations"), "validations or auditAnnotations must contain at least one item")
		c.required(path.Child("auditAnnotations"), "validations or auditAnnotations must contain at least one item")
	}
	for i := range spec.Validations {
		compiler.validation(path.Child("validations").Index(i), &spec.Validations[i])
	}
	compiler.auditAnnotations(path.Child("auditAnnotations"), p.Name, spec.AuditAnnotations)
	return c.errs
}

func (x expressions) knowPolicy(spec *admissionv1.ValidatingAdmissionPolicySpec) {
	x.knowConditions(spec.MatchConditions)
	for _, v := range spec.Variables {
		x.known[v.Expression] = true
	}
	for _, v := range spec.Validations {
		x.known[v.Expression], x.known[v.MessageExpression] = true, true
	}
	for _, a := range spec.AuditAnnotations {
		x.known[a.ValueExpression] = true
	}
}

// validatePolicyFrame checks what validating and mutating policies have in common.
func validatePolicyFrame(c *check, path *field.Path, failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, match *admissionv1.MatchResources) {
	if failure == nil {
		c.required(path.Child("failurePolicy"), "")
	}
	supported(c, path.Child("failurePolicy"), failure, failurePolicies)
	if params != nil {
		validateParamKind(c, path.Child("paramKind"), params)
	}
	if match == nil {
		c.required(path.Child("matchConstraints"), "")
		return
	}
	validateMatchResources(c, path.Child("matchConstraints"), match)
	if len(match.ResourceRules) == 0 {
		c.required(path.Child("matchConstraints", "resourceRules"), "")
	}
}

var validationReasons = []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}

func (p *policy) validation(path *field.Path, v *admissionv1.Validation) {
	if strings.TrimSpace(v.Expression) == "" {
		p.required(path.Child("expression"), "expression is not specified")
	} else {
		p.expression(path.Child("expression"), v.Expression, p.options(), cel.Bool)
	}
	switch {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		p.invalid(path.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	default:
		p.expression(path.Child("messageExpression"), v.MessageExpression, cel.Options{Params: p.params}, cel.String)
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		p.invalid(path.Child("message"), v.Message, "must be non-empty if specified")
	case strings.ContainsAny(message, "\n\r"):
		p.invalid(path.Child("message"), v.Message, "must not contain line breaks")
	}
	supported(p.check, path.Child("reason"), v.Reason, validationReasons)
}

func (p *policy) auditAnnotations(path *field.Path, name string, list []admissionv1.AuditAnnotation) {
	if len(list) > maxAuditAnnotations {
		p.invalid(path, list, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
		return
	}
	keys := once{}
	for i, a := range list {
		path := path.Index(i)
		if name == "" {
			p.invalid(path.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			p.invalid(path.Child("key"), name+"/"+a.Key, validation.IsQualifiedName(name+"/"+a.Key)...)
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			p.required(path.Child("valueExpression"), "valueExpression is not specified")
		case len(text) > maxAuditExpression:
			p.required(path.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAuditExpression))
		default:
			p.expression(path.Child("valueExpression"), a.ValueExpression, p.options(), cel.StringOrNull)
		}
		keys.add(p.check, path.Child("key"), a.Key)
	}
}

func validateValidatingPolicyStatus(p, _ *admissionv1.ValidatingAdmissionPolicy) fieldErrors {
	c := &check{}
	if t := p.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			path := at("status", "typeChecking", "expressionWarnings").Index(i)
			c.needs(path.Child("warning"), w.Warning)
			c.needs(path.Child("fieldRef"), strings.TrimSpace(w.FieldRef))
		}
	}
	c.add(metavalidation.ValidateConditions(p.Status.Conditions, at("status", "conditions"))...)
	return c.errs
}

var validationActions = []admissionv1.ValidationAction{admissionv1.Audit, admissionv1.Deny, admissionv1.Warn}

func validateValidatingBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) fieldErrors {
	c, path := &check{}, at("spec")
	validatePolicyBinding(c, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
	actions, path := once{}, path.Child("validationActions")
	for i, a := range b.Spec.ValidationActions {
		supported(c, path.Index(i), &a, validationActions)
		actions.add(c, path.Index(i), string(a))
	}
	if actions["Deny"] && actions["Warn"] {
		c.invalid(path, b.Spec.ValidationActions, "must not contain both Deny and Warn "+
			"(repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(actions) == 0 {
		c.required(path, "at least one validation action is required")
	}
	return c.errs
}

// validatePolicyBinding checks what bindings of validating and mutating policies have in common.
func validatePolicyBinding(c *check, policy string, params *admissionv1.ParamRef, match *admissionv1.MatchResources) {
	path := at("spec")
	c.name(path.Child("policyName"), policy, validation.IsDNS1123Subdomain)
	validateParamRef(c, path.Child("paramRef"), params)
	validateMatchResources(c, path.Child("matchResources"), match)
}
