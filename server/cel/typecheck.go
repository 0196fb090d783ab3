package cel

import (
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// ObjectType is what an expression may know of the fields of object, oldObject or params. Nil: nothing.
type ObjectType = apiservercel.DeclType

// TypeOf describes a Go type of the API as its JSON. Types that hold themselves are open where they do.
func TypeOf(example runtime.Object, name string) *ObjectType {
	return structType(reflect.TypeOf(example).Elem(), nil).MaybeAssignTypeName(name)
}

// TypeOfSchema describes a custom kind.
func TypeOfSchema(s *spec.Schema, name string) *ObjectType {
	t := common.SchemaDeclType(&openapi.Schema{Schema: s}, true)
	if t == nil {
		return nil
	}
	return t.MaybeAssignTypeName(name)
}

// NewTypeChecker returns a compiler that knows the types of object and parameters. What it compiles cannot be run, and may
// have any type; its errors are the mistakes.
func NewTypeChecker(object, params *ObjectType, hasParams bool) (*Compiler, error) {
	set, err := typedEnvironment(object, params, hasParams)
	if err != nil {
		return nil, err
	}
	set, vars, err := withVariables(set)
	if err != nil {
		return nil, err
	}
	return &Compiler{stage: Stored, envs: map[Options]*environment.EnvSet{}, variables: vars, only: true,
		base: func(Options) (*environment.EnvSet, error) { return set, nil }}, nil
}

func typedEnvironment(object, params *ObjectType, hasParams bool) (*environment.EnvSet, error) {
	request, namespace := requestType(), namespaceType()
	types := []*apiservercel.DeclType{request, namespace}
	known := func(t *ObjectType) *cel.Type {
		if t == nil {
			return cel.DynType
		}
		types = append(types, t)
		return t.CelType()
	}
	of := known(object)
	vars := []cel.EnvOption{
		cel.Variable(varRequest, request.CelType()), cel.Variable(varNamespace, namespace.CelType()),
		cel.Variable(varObject, of), cel.Variable(varOldObject, of),
		cel.Variable(varAuthorizer, library.AuthorizerType), cel.Variable(varRequestResource, library.ResourceCheckType),
	}
	if hasParams {
		vars = append(vars, cel.Variable(varParams, known(params)))
	}
	return base().Extend(environment.VersionedOptions{IntroducedVersion: always, EnvOptions: vars, DeclTypes: types})
}

// leaves are Go types whose JSON is not what their fields say.
var leaves = map[reflect.Type]*apiservercel.DeclType{
	reflect.TypeFor[metav1.Time]():          apiservercel.TimestampType,
	reflect.TypeFor[metav1.MicroTime]():     apiservercel.TimestampType,
	reflect.TypeFor[metav1.Duration]():      apiservercel.StringType,
	reflect.TypeFor[resource.Quantity]():    apiservercel.StringType,
	reflect.TypeFor[intstr.IntOrString]():   apiservercel.DynType,
	reflect.TypeFor[runtime.RawExtension](): apiservercel.DynType,
	reflect.TypeFor[metav1.FieldsV1]():      apiservercel.DynType,
	reflect.TypeFor[[]byte]():               apiservercel.BytesType,
}

func typeOf(t reflect.Type, within []reflect.Type) *apiservercel.DeclType {
	if leaf, ok := leaves[t]; ok {
		return leaf
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeOf(t.Elem(), within)
	case reflect.Bool:
		return apiservercel.BoolType
	case reflect.String:
		return apiservercel.StringType
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return apiservercel.IntType
	case reflect.Float32, reflect.Float64:
		return apiservercel.DoubleType
	case reflect.Slice, reflect.Array:
		return listOf(typeOf(t.Elem(), within))
	case reflect.Map:
		return mapOf(typeOf(t.Elem(), within))
	case reflect.Struct:
		for _, outer := range within {
			if outer == t {
				return apiservercel.DynType
			}
		}
		return structType(t, within)
	}
	return apiservercel.DynType
}

func structType(t reflect.Type, within []reflect.Type) *apiservercel.DeclType {
	fields := map[string]*apiservercel.DeclField{}
	addFields(fields, t, append(within, t))
	return apiservercel.NewObjectType("object", fields)
}

func addFields(fields map[string]*apiservercel.DeclField, t reflect.Type, within []reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && (name == "" || strings.Contains(options, "inline")):
			if f.Type.Kind() == reflect.Struct {
				addFields(fields, f.Type, within)
			}
		case name == "" || name == "-" || !f.IsExported():
		default:
			if escaped, ok := apiservercel.Escape(name); ok {
				fields[escaped] = apiservercel.NewDeclField(escaped, typeOf(f.Type, within), !strings.Contains(options, "omitempty"), nil, nil)
			}
		}
	}
}
