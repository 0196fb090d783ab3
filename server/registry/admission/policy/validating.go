package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
)

// validating is a compiled ValidatingAdmissionPolicy.
type validating struct {
	*frame
	validations []validation
	notes       []note
}

type validation struct {
	*admissionv1.Validation
	program, message *cel.Program
}

// note is an audit annotation.
type note struct {
	key   string
	value *cel.Program
}

func compileValidating(p *admissionv1.ValidatingAdmissionPolicy) *validating {
	v := &validating{frame: newFrame(p.Name, p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints, p.Spec.MatchConditions, p.Spec.Variables)}
	if v.err != nil {
		return v
	}
	for i := range p.Spec.Validations {
		one := validation{Validation: &p.Spec.Validations[i]}
		one.program = v.compiler.Compile(one.Expression, v.options(), cel.Bool)
		if one.MessageExpression != "" {
			one.message = v.compiler.Compile(one.MessageExpression, cel.Options{Params: v.params != nil}, cel.String)
		}
		v.validations = append(v.validations, one)
	}
	for _, a := range p.Spec.AuditAnnotations {
		v.notes = append(v.notes, note{a.Key, v.compiler.Compile(a.ValueExpression, v.options(), cel.StringOrNull)})
	}
	return v
}

type validatingPlugin struct {
	*Config
	policies, bindings *api.Kind
	compiled           match.Cache[*validating]
	bound              match.Cache[*binding]
}

// Validating is the plugin that lets policies refuse what is written.
func Validating(c Config) registry.Plugin {
	p := &validatingPlugin{Config: &c, policies: c.Catalogue.ByObject(&admissionv1.ValidatingAdmissionPolicy{}),
		bindings: c.Catalogue.ByObject(&admissionv1.ValidatingAdmissionPolicyBinding{})}
	return registry.Plugin{Name: "ValidatingAdmissionPolicy", Validate: p.validate}
}

// verdicts gathers what all policies say of one request.
type verdicts struct {
	subject *match.Subject
	denied  []denial
	failed  []validationFailure
}

// denial is why a request is refused.
type denial struct {
	policy, binding, message string
	reason                   metav1.StatusReason
}

// validationFailure is how the audit event tells of one.
type validationFailure struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

func (p *validatingPlugin) validate(ctx context.Context, a *registry.Attributes) error {
	m, snap := p.subject(a, p.policies, p.bindings)
	if m == nil {
		return nil
	}
	all := &verdicts{subject: m}
	live, liveBindings := snap.Count(p.policies, ""), snap.Count(p.bindings, "")
	compiled := func(obj api.Object) *binding {
		return p.bound.Get(obj, liveBindings, func() *binding {
			b := obj.(*admissionv1.ValidatingAdmissionPolicyBinding)
			return newBinding(b.Name, b.Spec.MatchResources, b.Spec.ParamRef, b.Spec.ValidationActions)
		})
	}
	for obj := range snap.List(p.policies, "", "") {
		policy := p.compiled.Get(obj, live, func() *validating { return compileValidating(obj.(*admissionv1.ValidatingAdmissionPolicy)) })
		failed := func(f failure) { all.misconfigured(policy.frame, f) }
		if policy.criteria == nil {
			failed(failure{policy.name, "", policy.err})
			continue
		}
		t, ok, err := policy.criteria.Match(m)
		if err == nil && ok && policy.err != nil {
			err = policy.err
		}
		if err != nil {
			failed(failure{policy.name, "", err})
			continue
		}
		if !ok {
			continue
		}
		notes := map[string][]string{}
		for _, in := range p.Config.bound(ctx, m, snap, t, policy.frame, p.bindings, compiled, failed) {
			all.apply(in, policy, notes)
		}
		for key, values := range notes {
			a.Note(policy.name+"/"+key, strings.Join(values, ", "), false)
		}
	}
	return all.result()
}

// misconfigured refuses the request for a policy or binding that cannot be applied, unless such failures are ignored.
func (v *verdicts) misconfigured(f *frame, what failure) {
	if f.ignore {
		return
	}
	message := "failed to configure policy: " + what.err.Error()
	if what.binding != "" {
		message = "failed to configure binding: " + what.err.Error()
	}
	v.denied = append(v.denied, denial{policy: what.policy, binding: what.binding, message: message})
}

// apply evaluates one invocation and does what the binding wants done with the outcome.
func (v *verdicts) apply(in *invocation, p *validating, notes map[string][]string) {
	found, annotations := p.evaluate(in)
	for i, d := range found {
		if d == nil {
			continue
		}
		for _, action := range in.binding.actions {
			switch action {
			case admissionv1.Deny:
				v.denied = append(v.denied, *d)
			case admissionv1.Audit:
				v.failed = append(v.failed, validationFailure{d.message, d.policy, d.binding, i, in.binding.actions})
			case admissionv1.Warn:
				in.subject.Warnf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", d.policy, d.binding, d.message)
			}
		}
	}
	for _, a := range annotations {
		switch {
		case a.err != nil:
			v.denied = append(v.denied, denial{policy: p.name, binding: in.binding.name, message: a.err.Error()})
		case a.value != "" && !slices.Contains(notes[a.key], a.value):
			notes[a.key] = append(notes[a.key], a.value)
		}
	}
}

const maxFailureNotes = 50

// result refuses with the first denial there is, and tells the audit event of the failures.
func (v *verdicts) result() error {
	if len(v.failed) > 0 {
		text, _ := json.Marshal(v.failed[:min(len(v.failed), maxFailureNotes)])
		v.subject.Note("validation.policy.admission.k8s.io/validation_failure", string(text), false)
	}
	if len(v.denied) == 0 {
		return nil
	}
	d := v.denied[0]
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", d.policy, d.message)
	if d.binding != "" {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", d.policy, d.binding, d.message)
	}
	err := apierrors.NewForbidden(v.subject.Asked.Resource.GroupResource(), v.subject.Name, fmt.Errorf("%s", message))
	err.ErrStatus.Reason = d.reason
	if d.reason == "" {
		err.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	err.ErrStatus.Code = codeOf(err.ErrStatus.Reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return err
}

func codeOf(reason metav1.StatusReason) int32 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return 403
	case metav1.StatusReasonUnauthorized:
		return 401
	case metav1.StatusReasonRequestEntityTooLarge:
		return 413
	}
	return 422
}
