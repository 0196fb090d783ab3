package cel

import (
	"fmt"

	"github.com/google/cel-go/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Types are those of which an expression must result in one.
type Types []*cel.Type

// What expressions result in.
var (
	Bool         = Types{cel.BoolType}
	String       = Types{cel.StringType}
	StringOrNull = Types{cel.StringType, cel.NullType}
	Any          = Types{cel.AnyType}
	// ApplyConfiguration and JSONPatch need Options.Patch.
	ApplyConfiguration = Types{cel.ObjectType("Object")}
	JSONPatch          = Types{cel.ListType(cel.ObjectType("JSONPatch"))}
)

// Error says why an expression was not compiled.
type Error struct {
	Detail string
	// Internal: the environment is broken, not the expression.
	Internal bool
}

func (e *Error) Error() string { return e.Detail }

// Program is a compiled expression, or the reason why there is none: evaluating it then fails with that.
type Program struct {
	Expression string
	program    cel.Program
	err        *Error
	output     *cel.Type
}

// Err is why the expression was not compiled; nil if it was.
func (p *Program) Err() *Error { return p.err }

// Compiler compiles the expressions of one policy. It is for one goroutine until the last expression is compiled.
type Compiler struct {
	stage     Stage
	base      func(Options) (*environment.EnvSet, error)
	envs      map[Options]*environment.EnvSet
	variables *variables // nil: expressions cannot use any
	// only checks types: no program is made, and the result may have any type.
	only bool
}

// NewCompiler compiles expressions that use no variables.
func NewCompiler(stage Stage) *Compiler {
	return &Compiler{stage: stage, base: plainEnvironment, envs: map[Options]*environment.EnvSet{}}
}

// NewPolicyCompiler compiles expressions that use variables, which Variable adds.
func NewPolicyCompiler(stage Stage) (*Compiler, error) {
	set, vars, err := withVariables(base())
	if err != nil {
		return nil, err
	}
	return &Compiler{stage: stage, envs: map[Options]*environment.EnvSet{}, variables: vars,
		base: func(o Options) (*environment.EnvSet, error) { return extend(set, o) }}, nil
}

func (c *Compiler) environment(o Options, stage Stage) (*cel.Env, error) {
	set, ok := c.envs[o]
	if !ok {
		var err error
		if set, err = c.base(o); err != nil {
			return nil, err
		}
		c.envs[o] = set
	}
	return set.Env(stage)
}

// Compile compiles an expression that results in one of the types. The Program is never nil.
func (c *Compiler) Compile(expression string, o Options, types Types) *Program {
	return c.compile(expression, o, types, c.stage)
}

// CompileStored is Compile for an expression that was accepted before, perhaps by a newer server.
func (c *Compiler) CompileStored(expression string, o Options, types Types) *Program {
	return c.compile(expression, o, types, Stored)
}

func (c *Compiler) compile(expression string, o Options, types Types, stage Stage) *Program {
	p := &Program{Expression: expression}
	env, err := c.environment(o, stage)
	if err != nil {
		return p.failed(true, "unexpected error loading CEL environment: %v", err)
	}
	ast, issues := env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		if c.only {
			return p.failed(false, "%s", issues)
		}
		return p.failed(false, "compilation failed: %s", issues)
	}
	p.output = ast.OutputType()
	if c.only {
		return p
	}
	if text := mismatch(p.output, types); text != "" {
		return p.failed(false, "%s", text)
	}
	if p.program, err = env.Program(ast, cel.InterruptCheckFrequency(celconfig.CheckFrequency)); err != nil {
		return p.failed(true, "program instantiation failed: %v", err)
	}
	return p
}

func (p *Program) failed(internal bool, format string, args ...any) *Program {
	p.err = &Error{Internal: internal, Detail: fmt.Sprintf(format, args...)}
	return p
}

func mismatch(got *cel.Type, want Types) string {
	for _, t := range want {
		if got.IsExactType(t) || cel.AnyType.IsExactType(t) {
			return ""
		}
	}
	if len(want) == 1 {
		return fmt.Sprintf("must evaluate to %v but got %v", want[0], got)
	}
	return fmt.Sprintf("must evaluate to one of %v but got %v", []*cel.Type(want), got)
}

// Variable compiles a variable and lets the expressions that follow use it as variables.<name>, even if it failed, so
// that they do not fail for that too.
func (c *Compiler) Variable(name, expression string, o Options) *Program {
	return c.variable(name, expression, o, c.stage)
}

// VariableStored is Variable for an expression that was accepted before.
func (c *Compiler) VariableStored(name, expression string, o Options) *Program {
	return c.variable(name, expression, o, Stored)
}

func (c *Compiler) variable(name, expression string, o Options, stage Stage) *Program {
	p := c.compile(expression, o, Any, stage)
	c.variables.add(name, p)
	return p
}

// variables of one policy, which grow while it is compiled.
type variables struct {
	declared *apiservercel.DeclType
	programs map[string]*Program
	names    []string // in the policy's order
}

func withVariables(set *environment.EnvSet) (*environment.EnvSet, *variables, error) {
	v := &variables{declared: object("kubernetes.variables", true, nil), programs: map[string]*Program{}}
	set, err := set.Extend(environment.VersionedOptions{
		IntroducedVersion: always,
		EnvOptions:        []cel.EnvOption{cel.Variable(varVariables, v.declared.CelType())},
		DeclTypes:         []*apiservercel.DeclType{v.declared},
	})
	return set, v, err
}

func (v *variables) add(name string, p *Program) {
	v.declared.Fields[name] = apiservercel.NewDeclField(name, declared(p.output), true, nil, nil)
	if _, again := v.programs[name]; !again {
		v.names = append(v.names, name)
	}
	v.programs[name] = p
}

// simple are the types that a variable may have whose declaration says all.
var simple = map[*cel.Type]*apiservercel.DeclType{
	cel.AnyType: apiservercel.AnyType, cel.BoolType: apiservercel.BoolType, cel.BytesType: apiservercel.BytesType,
	cel.DoubleType: apiservercel.DoubleType, cel.DurationType: apiservercel.DurationType, cel.IntType: apiservercel.IntType,
	cel.NullType: apiservercel.NullType, cel.StringType: apiservercel.StringType, cel.TimestampType: apiservercel.TimestampType,
	cel.UintType: apiservercel.UintType,
}

// declared is the declaration of a type that an expression results in.
func declared(t *cel.Type) *apiservercel.DeclType {
	if t == nil {
		return apiservercel.DynType
	}
	if d, ok := simple[t]; ok {
		return d
	}
	switch inner := t.Parameters(); {
	case t.Kind() == cel.ListKind && len(inner) == 1:
		return listOf(declared(inner[0]))
	case t.Kind() == cel.MapKind && len(inner) == 2:
		return apiservercel.NewMapType(declared(inner[0]), declared(inner[1]), -1)
	}
	return apiservercel.DynType
}
