package cel

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/lazy"
	"k8s.io/apiserver/pkg/cel/library"
)

// Budget is how much a number of evaluations may still cost together.
type Budget struct{ left int64 }

// Budgets, as upstream gives them.
func PolicyBudget() *Budget          { return &Budget{celconfig.RuntimeCELCostBudget} }
func MatchConditionsBudget() *Budget { return &Budget{celconfig.RuntimeCELCostBudgetMatchConditions} }

// Clone has as much left as b.
func (b *Budget) Clone() *Budget { return &Budget{b.left} }

// ErrBudget is what remains when a Budget is used up. No further expression may then be evaluated with it.
var ErrBudget = errors.New("validation failed due to running out of cost budget, no further validation rules will be run")

func (b *Budget) charge(cost *uint64) error {
	if b.left < 0 || cost == nil || *cost > math.MaxInt64 || int64(*cost) > b.left {
		b.left = -1
		return ErrBudget
	}
	b.left -= int64(*cost)
	return nil
}

// Input is what the expressions of one request see. All of it is only read.
type Input struct {
	// Object and Old are in the version that was asked for, with their TypeMeta; nil: there is none.
	Object, Old runtime.Object
	// Params with its TypeMeta; nil is null.
	Params    runtime.Object
	Request   *admissionv1.AdmissionRequest
	Namespace *corev1.Namespace
	// User and Resource are whom and what the authorizer speaks of; Authorizer nil: the variable is not there.
	User       user.Info
	Resource   library.Resource
	Authorizer authorizer.UnconditionalAuthorizer
}

// Evaluation evaluates expressions for one Input, in one goroutine. Variables are computed when first used.
type Evaluation struct {
	values map[string]any
	// variables of the policy, bound to a context and a budget by Run.
	ctx    context.Context
	budget *Budget
	spent  error
}

// NewEvaluation prepares an Input for the expressions of a compiler.
func (c *Compiler) NewEvaluation(in Input) *Evaluation {
	e := &Evaluation{values: map[string]any{
		varObject:    value(in.Object),
		varOldObject: value(in.Old),
		varParams:    value(in.Params),
		varRequest:   common.SchemalessTypedToVal(in.Request),
		varNamespace: common.SchemalessTypedToVal(visible(in.Namespace)),
	}}
	if in.Authorizer != nil {
		e.values[varAuthorizer] = library.NewAuthorizerVal(in.User, in.Authorizer)
		e.values[varRequestResource] = library.NewResourceAuthorizerVal(in.User, in.Authorizer, in.Resource)
	}
	if c.variables != nil {
		known := lazy.NewMapValue(c.variables.declared)
		for _, name := range c.variables.names {
			p := c.variables.programs[name]
			known.Append(name, func(*lazy.MapValue) ref.Val { return e.variable(name, p) })
		}
		e.values[varVariables] = known
	}
	return e
}

// value reads a typed object by reflection, as far as expressions look into it.
func value(obj runtime.Object) any {
	switch o := obj.(type) {
	case nil:
		return nil
	case runtime.Unstructured:
		return types.DefaultTypeAdapter.NativeToValue(o.UnstructuredContent())
	}
	return common.SchemalessTypedToVal(obj)
}

// visible is what expressions may see of a namespace.
func visible(ns *corev1.Namespace) *corev1.Namespace {
	if ns == nil {
		return nil
	}
	m := &ns.ObjectMeta
	return &corev1.Namespace{Spec: ns.Spec, Status: ns.Status, ObjectMeta: metav1.ObjectMeta{
		Name: m.Name, GenerateName: m.GenerateName, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		DeletionGracePeriodSeconds: m.DeletionGracePeriodSeconds, Labels: m.Labels, Annotations: m.Annotations, Finalizers: m.Finalizers,
	}}
}

// ResolveName and Parent make an Evaluation an interpreter.Activation.
func (e *Evaluation) ResolveName(name string) (any, bool) {
	v, ok := e.values[name]
	return v, ok
}

// Parent is nil: there is no outer scope.
func (e *Evaluation) Parent() interpreter.Activation { return nil }

// Run evaluates a program. An error is the expression's own, except ErrBudget, after which nothing more may be run.
func (e *Evaluation) Run(ctx context.Context, p *Program, b *Budget) (ref.Val, error) {
	if p.err != nil {
		return nil, fmt.Errorf("compilation error: %w", p.err)
	}
	e.ctx, e.budget, e.spent = ctx, b, nil
	out, details, err := p.program.ContextEval(ctx, e)
	if e.spent != nil {
		return nil, e.spent
	}
	if details == nil {
		return nil, fmt.Errorf("runtime cost could not be calculated for expression: %v, no further expression will be run", p.Expression)
	}
	if spent := b.charge(details.ActualCost()); spent != nil {
		return nil, spent
	}
	if err != nil {
		return nil, fmt.Errorf("expression '%v' resulted in error: %w", p.Expression, err)
	}
	return out, nil
}

// variable computes one of the policy's variables for the expression that is being run.
func (e *Evaluation) variable(name string, p *Program) ref.Val {
	if p.err != nil {
		return types.NewErr("composited variable %q fails to compile: %v", name, p.err)
	}
	if e.spent != nil {
		return types.WrapErr(e.spent)
	}
	out, details, err := p.program.ContextEval(e.ctx, e)
	if details == nil {
		return types.NewErr("unable to get evaluation details of variable %q", name)
	}
	if e.spent = e.budget.charge(details.ActualCost()); e.spent != nil {
		return types.WrapErr(e.spent)
	}
	if err != nil {
		return types.NewErr("composited variable %q fails to evaluate: %v", name, err)
	}
	return out
}
