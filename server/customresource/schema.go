package customresource

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// version is one version of a custom kind.
type version struct {
	kind *kind
	gvk  schema.GroupVersionKind
	// spec is part of the stored definition: shared, not to be changed.
	spec *apiextensionsv1.CustomResourceDefinitionVersion
	// structural is nil for a version without a schema.
	structural *structuralschema.Structural
	// embeds says that there may be objects within objects.
	embeds    bool
	scaleSpec *apiextensionsv1.CustomResourceSubresourceScale
	// validators are made at the first write.
	validators func() (*validators, error)
}

func newVersion(k *kind, d *Definition, spec *apiextensionsv1.CustomResourceDefinitionVersion) (*version, error) {
	v := &version{kind: k, gvk: schema.GroupVersionKind{Group: d.Spec.Group, Version: spec.Name, Kind: d.Status.AcceptedNames.Kind}, spec: spec}
	if spec.Subresources != nil {
		v.scaleSpec = spec.Subresources.Scale
	}
	v.validators = sync.OnceValues(v.makeValidators)
	props, err := internalSchema(spec)
	if err != nil || props == nil {
		return v, err
	}
	s, err := structuralschema.NewStructural(props)
	if err != nil {
		if k.preserve {
			return v, nil
		}
		return nil, fmt.Errorf("its schema is not structural: %w", err)
	}
	if !k.preserve {
		s = s.DeepCopy() // pruning the defaults changes them, and they are the definition's
		if err := defaulting.PruneDefaults(s); err != nil {
			return nil, fmt.Errorf("prune the defaults of its schema: %w", err)
		}
	}
	v.structural, v.embeds = s, embedsObjects(s)
	return v, nil
}

// embedsObjects says whether a schema has x-kubernetes-embedded-resource anywhere.
func embedsObjects(s *structuralschema.Structural) bool {
	if s == nil {
		return false
	}
	if s.XEmbeddedResource || embedsObjects(s.Items) || s.AdditionalProperties != nil && embedsObjects(s.AdditionalProperties.Structural) {
		return true
	}
	for name := range s.Properties {
		if property := s.Properties[name]; embedsObjects(&property) {
			return true
		}
	}
	return false
}

// hasNull says whether there is a null anywhere, which hardly any object has.
func hasNull(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		for _, member := range value {
			if hasNull(member) {
				return true
			}
		}
	case []any:
		for _, item := range value {
			if hasNull(item) {
				return true
			}
		}
	}
	return false
}

// internalSchema is the form of a schema that the libraries take; nil if the version has none.
func internalSchema(spec *apiextensionsv1.CustomResourceDefinitionVersion) (*apiextensions.JSONSchemaProps, error) {
	if spec.Schema == nil || spec.Schema.OpenAPIV3Schema == nil {
		return nil, nil
	}
	out := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(spec.Schema.OpenAPIV3Schema, out, nil); err != nil {
		return nil, fmt.Errorf("read its schema: %w", err)
	}
	return out, nil
}

// prune does for a request's object what decoding into a Go type does for others: unknown fields go, and metadata that
// is none is an error.
func (v *version) prune(u *unstructured.Unstructured) ([]string, error) {
	paths, err := v.coerce(u, coercion{track: true})
	for i := range paths {
		paths[i] = fmt.Sprintf("unknown field %q", paths[i])
	}
	return paths, err
}

// fromStore brings what was read from etcd to the schema as it is today: pruned, with defaults, with metadata that can be
// used. An object of a version that the definition has no more stays as it is.
func (k *kind) fromStore(u *unstructured.Unstructured) {
	v := k.versions[u.GroupVersionKind().Version]
	if v == nil {
		return
	}
	if _, err := v.coerce(u, coercion{drop: true, repair: true}); err != nil {
		return // what cannot be read as an object stays as it is, so that it can be seen and deleted
	}
	v.applyDefaults(u)
}

func (v *version) applyDefaults(u *unstructured.Unstructured) {
	if v.structural != nil && !v.kind.preserve {
		defaulting.Default(u.Object, v.structural)
	}
}

// coercion says how to treat what does not fit.
type coercion struct {
	track  bool // return the paths of unknown fields
	drop   bool // drop malformed metadata instead of refusing it
	repair bool // give a generation to objects of before there were generations
}

// coerce prunes u by the schema, and its metadata and those of embedded objects by what metadata are.
func (v *version) coerce(u *unstructured.Unstructured, c coercion) (unknown []string, err error) {
	kind, apiVersion := u.Object["kind"], u.Object["apiVersion"]
	// Of a request it has been checked that it is of this kind.
	meta, found := u.Object["metadata"]
	if fields, ok := meta.(map[string]any); found && (!ok || !plainMetadata(fields)) {
		var parsed *metav1.ObjectMeta
		var paths []string
		parsed, found, paths, err = objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{DropMalformedFields: c.drop, ReturnUnknownFieldPaths: c.track})
		if err != nil {
			return nil, err
		}
		unknown = paths
		if found {
			if err := objectmeta.SetObjectMeta(u.Object, parsed); err != nil {
				return nil, err
			}
			meta = u.Object["metadata"]
		}
	}
	if v.structural != nil && !v.kind.preserve {
		unknown = append(unknown, pruning.PruneWithOptions(u.Object, v.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: c.track})...)
		if hasNull(u.Object) {
			defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, v.structural)
		}
	}
	if v.embeds {
		bad, paths := objectmeta.CoerceWithOptions(nil, u.Object, v.structural, false, objectmeta.CoerceOptions{DropInvalidFields: c.drop, ReturnUnknownFieldPaths: c.track})
		if bad != nil {
			return nil, bad
		}
		unknown = append(unknown, paths...)
	}
	// A schema may speak of these, but what they are is not its to say.
	restore(u.Object, "kind", kind)
	restore(u.Object, "apiVersion", apiVersion)
	if found {
		restore(u.Object, "metadata", meta)
	}
	if c.repair && u.GetGeneration() == 0 {
		u.SetGeneration(1)
	}
	return unknown, nil
}

func restore(object map[string]any, name string, value any) {
	if value != nil {
		object[name] = value
	}
}
