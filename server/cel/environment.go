package cel

import (
	"sync"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Names of the variables that an expression may see.
const (
	varObject          = "object"
	varOldObject       = "oldObject"
	varParams          = "params"
	varRequest         = "request"
	varNamespace       = "namespaceObject"
	varAuthorizer      = "authorizer"
	varRequestResource = "authorizer.requestResource"
	varVariables       = "variables"
)

// Options say what an expression sees beside object, oldObject, request, namespaceObject and the policy's variables.
type Options struct {
	Params     bool
	Authorizer bool
	// Patch adds the types Object and JSONPatch, which mutations are made of.
	Patch bool
}

// Stage is whose rules an expression is compiled by: a new one may use only what the previous minor version of the API
// server understands, so that going back stays possible.
type Stage = environment.Type

// The stages.
const (
	New    = environment.NewExpressions
	Stored = environment.StoredExpressions
)

// always is older than every version there is: options introduced then are there in all.
var always = version.MajorMinor(1, 0)

func base() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// plain are the environments of expressions without variables.
var plain sync.Map // Options → func() (*environment.EnvSet, error)

func plainEnvironment(o Options) (*environment.EnvSet, error) {
	f, ok := plain.Load(o)
	if !ok {
		f, _ = plain.LoadOrStore(o, sync.OnceValues(func() (*environment.EnvSet, error) { return extend(base(), o) }))
	}
	return f.(func() (*environment.EnvSet, error))()
}

// extend adds the variables of admission to an environment.
func extend(set *environment.EnvSet, o Options) (*environment.EnvSet, error) {
	request, namespace := requestType(), namespaceType()
	vars := []cel.EnvOption{
		cel.Variable(varObject, cel.DynType),
		cel.Variable(varOldObject, cel.DynType),
		cel.Variable(varNamespace, namespace.CelType()),
		cel.Variable(varRequest, request.CelType()),
	}
	if o.Params {
		vars = append(vars, cel.Variable(varParams, cel.DynType))
	}
	if o.Authorizer {
		vars = append(vars, cel.Variable(varAuthorizer, library.AuthorizerType), cel.Variable(varRequestResource, library.ResourceCheckType))
	}
	set, err := set.Extend(environment.VersionedOptions{
		IntroducedVersion: always, EnvOptions: vars, DeclTypes: []*apiservercel.DeclType{request, namespace},
	}, environment.StrictCostOpt)
	if err != nil || !o.Patch {
		return set, err
	}
	// In a step of its own: declared types replace the resolver of names.
	return set.Extend(environment.VersionedOptions{IntroducedVersion: always, EnvOptions: []cel.EnvOption{
		common.ResolverEnvOption(&mutation.DynamicTypeResolver{}), environment.UnversionedLib(library.JSONPatch),
	}})
}

// object declares a type of the given fields; required ones are always there.
func object(name string, required bool, fields map[string]*apiservercel.DeclType) *apiservercel.DeclType {
	decl := make(map[string]*apiservercel.DeclField, len(fields))
	for f, t := range fields {
		decl[f] = apiservercel.NewDeclField(f, t, required, nil, nil)
	}
	return apiservercel.NewObjectType(name, decl)
}

func listOf(t *apiservercel.DeclType) *apiservercel.DeclType { return apiservercel.NewListType(t, -1) }

func mapOf(t *apiservercel.DeclType) *apiservercel.DeclType {
	return apiservercel.NewMapType(apiservercel.StringType, t, -1)
}

// requestType is what expressions see of an AdmissionRequest: all but uid, object and oldObject.
func requestType() *apiservercel.DeclType {
	text := apiservercel.StringType
	kind := object("kubernetes.GroupVersionKind", true, map[string]*apiservercel.DeclType{"group": text, "version": text, "kind": text})
	resource := object("kubernetes.GroupVersionResource", true, map[string]*apiservercel.DeclType{"group": text, "version": text, "resource": text})
	user := object("kubernetes.UserInfo", false, map[string]*apiservercel.DeclType{
		"username": text, "uid": text, "groups": listOf(text), "extra": mapOf(listOf(text)),
	})
	t := object("kubernetes.AdmissionRequest", false, map[string]*apiservercel.DeclType{
		"kind": kind, "resource": resource, "subResource": text,
		"requestKind": kind, "requestResource": resource, "requestSubResource": text,
		"name": text, "namespace": text, "operation": text, "userInfo": user,
		"dryRun": apiservercel.BoolType, "options": apiservercel.DynType,
	})
	for _, name := range []string{"kind", "resource", "requestKind", "requestResource", "name", "operation", "userInfo"} {
		t.Fields[name].Required = true
	}
	return t
}

// namespaceType is what expressions see of a Namespace: not its owners and managers.
func namespaceType() *apiservercel.DeclType {
	text, at := apiservercel.StringType, apiservercel.TimestampType
	meta := object("kubernetes.NamespaceMetadata", true, map[string]*apiservercel.DeclType{
		"name": text, "generateName": text, "namespace": text, "labels": mapOf(text), "annotations": mapOf(text), "UID": text,
		"creationTimestamp": at, "deletionGracePeriodSeconds": apiservercel.IntType, "deletionTimestamp": at,
		"generation": apiservercel.IntType, "resourceVersion": text, "finalizers": listOf(text),
	})
	condition := object("kubernetes.NamespaceCondition", true, map[string]*apiservercel.DeclType{
		"status": text, "type": text, "lastTransitionTime": at, "message": text, "reason": text,
	})
	return object("kubernetes.Namespace", true, map[string]*apiservercel.DeclType{
		"metadata": meta,
		"spec":     object("kubernetes.NamespaceSpec", true, map[string]*apiservercel.DeclType{"finalizers": listOf(text)}),
		"status":   object("kubernetes.NamespaceStatus", true, map[string]*apiservercel.DeclType{"conditions": listOf(condition), "phase": text}),
	})
}
