package api

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/ext"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	apicel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// deviceLanguage is what expressions that select devices are written in: CEL with one variable, device. It is made when
// the first expression comes.
type deviceLanguage struct {
	env *cel.Env
	// What an expression may return, and sizes for the estimate of its cost.
	attribute, device *apicel.DeclType
}

var deviceExpressions = sync.OnceValues(newDeviceLanguage)

func newDeviceLanguage() (*deviceLanguage, error) {
	sized := func(t *apicel.DeclType, most int64) *apicel.DeclType {
		out := *t
		out.MaxElements = most
		return &out
	}
	const entries = resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	domain, id := sized(apicel.StringType, resourcev1.DeviceMaxDomainLength), sized(apicel.StringType, resourcev1.DeviceMaxIDLength)
	attribute := sized(apicel.AnyType, resourcev1.DeviceAttributeMaxValueLength)
	byDomain := func(t *apicel.DeclType) *apicel.DeclType {
		return apicel.NewMapType(domain, apicel.NewMapType(id, t, entries), entries)
	}
	fields := map[string]*apicel.DeclField{}
	for name, t := range map[string]*apicel.DeclType{
		"driver": sized(apicel.StringType, resourcev1.DriverNameMaxLength), "attributes": byDomain(attribute),
		"capacity": byDomain(apicel.QuantityDeclType), "allowMultipleAllocations": sized(apicel.BoolType, 1),
	} {
		fields[name] = apicel.NewDeclField(name, t, true, nil, nil)
	}
	device := apicel.NewObjectType("kubernetes.DRADevice", fields)
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 31),
		EnvOptions:        []cel.EnvOption{ext.Bindings(ext.BindingsVersion(0)), cel.Variable("device", device.CelType())},
		DeclTypes:         []*apicel.DeclType{device},
	})
	if err != nil {
		return nil, fmt.Errorf("make the language of device selectors: %w", err)
	}
	env, err := set.Env(environment.NewExpressions)
	if err != nil {
		return nil, fmt.Errorf("make the language of device selectors: %w", err)
	}
	return &deviceLanguage{env: env, attribute: attribute, device: device}, nil
}

// deviceExpression checks an expression that selects devices: it compiles, says yes or no, and ends in time.
func (c *check) deviceExpression(at *field.Path, expression string) {
	if len(expression) > resourcev1.CELSelectorExpressionMaxLength {
		c.add(field.TooLong(at, "", resourcev1.CELSelectorExpressionMaxLength))
		return
	}
	l, err := deviceExpressions()
	if err != nil {
		c.add(field.InternalError(at, err))
		return
	}
	ast, issues := l.env.Compile(expression)
	if issues != nil {
		c.invalid(at, expression, "compilation failed: "+issues.String())
		return
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(l.attribute.CelType()) {
		c.invalid(at, expression, fmt.Sprintf("must evaluate to %v or the unknown type, not %v", cel.BoolType, t))
		return
	}
	cost, err := l.env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: l})
	switch {
	case err != nil:
		c.add(field.InternalError(at, fmt.Errorf("cost estimation failed: %w", err)))
	case cost.Max > resourcev1.CELSelectorExpressionMaxCost:
		c.forbidden(at, "too complex, exceeds cost limit")
	}
}

// EstimateSize bounds what a path below "device" can hold.
func (l *deviceLanguage) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	if len(path) == 0 || path[0] != "device" {
		return nil
	}
	t := l.device
	for _, name := range path[1:] {
		switch f, known := t.Fields[name]; {
		case name == "@keys":
			t = t.KeyType
		case known:
			t = f.Type
		default: // @items, @values, or a key
			t = t.ElemType
		}
		if t == nil {
			return nil
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(t.MaxElements)}
}

// EstimateCallCost leaves the cost of calls to the libraries.
func (*deviceLanguage) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
