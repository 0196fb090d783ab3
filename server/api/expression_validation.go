package api

import (
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/cel"
)

// expressions checks that what is written in CEL compiles. An expression that an object had before (known) is compiled
// as a stored one, since a newer server may have accepted it.
type expressions struct {
	*check
	known map[string]bool
}

func (x expressions) knowConditions(list []admissionv1.MatchCondition) {
	for _, m := range list {
		x.known[m.Expression] = true
	}
}

// maxMatchConditions of a webhook or policy.
const maxMatchConditions = 64

func (x expressions) conditions(path *field.Path, list []admissionv1.MatchCondition, params bool) {
	if len(list) > maxMatchConditions {
		x.add(field.TooMany(path, len(list), maxMatchConditions))
		return // each costs something to compile
	}
	names := once{}
	compiler := cel.NewCompiler(cel.New)
	for i := range list {
		m := &list[i]
		if text := strings.TrimSpace(m.Expression); x.needs(path.Index(i).Child("expression"), text) {
			x.compiled(path.Index(i).Child("expression"), text, compile(compiler, x.known[m.Expression], text, cel.Options{Params: params, Authorizer: true}, cel.Bool))
		}
		if x.needs(path.Index(i).Child("name"), m.Name) {
			x.invalid(path.Index(i).Child("name"), m.Name, validation.IsQualifiedName(m.Name)...)
			names.add(x.check, path.Index(i).Child("name"), m.Name)
		}
	}
}

func compile(c *cel.Compiler, known bool, text string, o cel.Options, types cel.Types) *cel.Program {
	if known {
		return c.CompileStored(text, o, types)
	}
	return c.Compile(text, o, types)
}

// compiled reports why an expression does not compile, if so.
func (x expressions) compiled(path *field.Path, text string, p *cel.Program) {
	err := p.Err()
	switch {
	case err == nil:
	case err.Internal:
		x.add(field.InternalError(path, err))
	default:
		x.invalid(path, text, err.Detail)
	}
}

var celIdentifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")

var celReserved = strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")

func isCELIdentifier(name string) bool {
	return celIdentifier.MatchString(name) && !slices.Contains(celReserved, name)
}

// policy compiles the expressions of one policy, in order: later ones see the variables before them.
type policy struct {
	expressions
	compiler *cel.Compiler
	params   bool
}

func (x expressions) policy(path *field.Path, params bool) *policy {
	compiler, err := cel.NewPolicyCompiler(cel.New)
	if err != nil {
		x.add(field.InternalError(path, err))
		return nil
	}
	return &policy{x, compiler, params}
}

func (p *policy) options() cel.Options { return cel.Options{Params: p.params, Authorizer: true} }

func (p *policy) expression(path *field.Path, text string, o cel.Options, types cel.Types) {
	p.compiled(path, text, compile(p.compiler, p.known[text], text, o, types))
}

func (p *policy) variables(path *field.Path, list []admissionv1.Variable) {
	for i, v := range list {
		path := path.Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			p.required(path.Child("name"), "name is not specified")
		case !isCELIdentifier(v.Name):
			p.invalid(path.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			p.required(path.Child("expression"), "expression is not specified")
			continue
		}
		program := p.compiler.Variable(v.Name, v.Expression, p.options())
		if p.known[v.Expression] && program.Err() != nil {
			program = p.compiler.VariableStored(v.Name, v.Expression, p.options())
		}
		p.compiled(path.Child("expression"), v.Expression, program)
	}
}

// validateParamKind checks which kind a policy's parameters have.
func validateParamKind(c *check, path *field.Path, k *admissionv1.ParamKind) {
	if c.needs(path.Child("apiVersion"), k.APIVersion) {
		validateAPIVersion(c, path.Child("apiVersion"), k.APIVersion)
	}
	if c.needs(path.Child("kind"), k.Kind) {
		if errs := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(errs) > 0 {
			c.invalid(path.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(errs, ","))
		}
	}
}

func validateAPIVersion(c *check, path *field.Path, text string) {
	group, version, found := strings.Cut(text, "/")
	if !found {
		group, version = "", text
	}
	if strings.Contains(version, "/") {
		c.invalid(path, text, "unexpected GroupVersion string: "+text)
		return
	}
	if group != "" {
		if errs := validation.IsDNS1123Subdomain(group); len(errs) > 0 {
			c.invalid(path, group, strings.Join(errs, ","))
		}
	}
	if version == "" {
		c.invalid(path, text, "version must be specified")
	} else if errs := validation.IsDNS1035Label(version); len(errs) > 0 {
		c.invalid(path, version, strings.Join(errs, ","))
	}
}
