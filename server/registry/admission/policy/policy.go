package policy

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of the plugins. All is required but Authorizer, which expressions ask.
type Config struct {
	Catalogue  *api.Catalogue
	Snapshot   func() *store.Snapshot
	Authorizer authorizer.UnconditionalAuthorizer
}

// frame is what validating and mutating policies have in common, compiled.
type frame struct {
	name       string
	criteria   *match.Criteria
	conditions []cel.Condition
	compiler   *cel.Compiler
	params     *admissionv1.ParamKind
	ignore     bool  // failures
	err        error // why it cannot be used
}

// binding is what bindings of both have in common, compiled.
type binding struct {
	name     string
	criteria *match.Criteria // nil: all that the policy matches
	params   *admissionv1.ParamRef
	err      error
	actions  []admissionv1.ValidationAction
}

// options are what the policy's expressions see.
func (f *frame) options() cel.Options { return cel.Options{Params: f.params != nil, Authorizer: true} }

func newFrame(name string, failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, constraints *admissionv1.MatchResources,
	conditions []admissionv1.MatchCondition, variables []admissionv1.Variable) *frame {
	f := &frame{name: name, params: params, ignore: failure != nil && *failure == admissionv1.Ignore}
	if constraints == nil {
		f.err = fmt.Errorf("policy contained no match constraints, a required field")
		return f
	}
	if f.criteria, f.err = match.OfResources(constraints); f.err != nil {
		return f
	}
	if f.compiler, f.err = cel.NewPolicyCompiler(cel.Stored); f.err != nil {
		return f
	}
	plain := cel.NewCompiler(cel.Stored) // match conditions see no variables
	for _, m := range conditions {
		f.conditions = append(f.conditions, cel.Condition{Name: m.Name, Program: plain.Compile(m.Expression, f.options(), cel.Bool)})
	}
	for _, v := range variables {
		f.compiler.Variable(v.Name, v.Expression, f.options())
	}
	return f
}

func newBinding(name string, resources *admissionv1.MatchResources, params *admissionv1.ParamRef, actions []admissionv1.ValidationAction) *binding {
	b := &binding{name: name, params: params, actions: actions}
	if resources != nil {
		b.criteria, b.err = match.OfResources(resources)
	}
	return b
}

// matched evaluates the match conditions.
func (f *frame) matched(in *invocation) (bool, error) {
	if len(f.conditions) == 0 {
		return true, nil
	}
	e, err := in.evaluation(false)
	if err != nil {
		return false, err
	}
	return cel.Match(in.ctx, e, f.conditions)
}

// failure is a policy, or a binding of it, that could not be applied.
type failure struct {
	policy, binding string
	err             error
}

// subject is nil when no policy is about the request: there is none, none is bound, or it is none of theirs.
func (c *Config) subject(a *registry.Attributes, policies, bindings *api.Kind) (*match.Subject, *store.Snapshot) {
	if policies == nil || bindings == nil {
		return nil, nil
	}
	s := c.Snapshot()
	if s.Count(policies, "") == 0 || s.Count(bindings, "") == 0 || match.Exempt(a.Kind) {
		return nil, nil
	}
	return match.New(a, c.Catalogue, s), s
}

// none is the parameter of a policy that has none.
var none = []runtime.Object{nil}
