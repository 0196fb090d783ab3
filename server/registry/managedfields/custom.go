package managedfields

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apimanaged "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"codeberg.org/skiff/skiff/server/api"
)

// converterKey is where a custom kind's converter is kept, with its hub version.
type converterKey struct{}

// customConverter knows the schemas of all versions of a custom kind, for an object's managedFields may speak of any.
func customConverter(k *api.Kind) (apimanaged.TypeConverter, error) {
	keep := k.Hub().Custom
	if keep != nil {
		if c, ok := keep.Memo.Load(converterKey{}); ok {
			return c.(apimanaged.TypeConverter), nil
		}
	}
	c, err := newCustomConverter(k)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", k.GVK(), err)
	}
	if keep != nil {
		keep.Memo.Store(converterKey{}, c)
	}
	return c, nil
}

func newCustomConverter(k *api.Kind) (apimanaged.TypeConverter, error) {
	models := metadataModels()
	for i := range k.Versions {
		v := &k.Versions[i]
		if v.Schema == nil {
			return apimanaged.NewDeducedTypeConverter(), nil
		}
		models[v.Group+"."+v.Version+"."+k.Kind] = v.Schema()
	}
	return apimanaged.NewTypeConverter(models, false)
}

// customShape is where a version of a custom kind is in its schema.
func customShape(k *api.Kind, v *api.Version) (shape, error) {
	if v.Schema == nil {
		t := typed.DeducedParseableType
		return shape{t.Schema, t.TypeRef}, nil
	}
	c, err := customConverter(k)
	if err != nil {
		return shape{}, err
	}
	empty := &unstructured.Unstructured{Object: map[string]any{}}
	empty.SetGroupVersionKind(gvkOf(k, v))
	tv, err := c.ObjectToTyped(empty)
	if err != nil {
		return shape{}, fmt.Errorf("find the schema of %s: %w", gvkOf(k, v), err)
	}
	return shape{tv.Schema(), tv.TypeRef()}, nil
}

// ObjectMetaModel is the name by which the schema of a custom kind refers to the schema of its metadata.
const ObjectMetaModel = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// metadataModels are the schemas of metadata, as far as merging needs them.
func metadataModels() map[string]*spec.Schema {
	const prefix = "io.k8s.apimachinery.pkg.apis.meta.v1."
	texts := func() spec.Schema { return *spec.MapProperty(spec.StringProperty()) }
	time := func() spec.Schema { return *spec.DateTimeProperty() }
	list := func(items *spec.Schema, extensions spec.Extensions) spec.Schema {
		s := spec.ArrayProperty(items)
		s.Extensions = extensions
		return *s
	}
	ref := func(name string) *spec.Schema { return spec.RefSchema("#/components/schemas/" + prefix + name) }
	model := func(properties map[string]spec.Schema) *spec.Schema {
		return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: properties}}
	}
	owner := model(map[string]spec.Schema{
		"apiVersion": *spec.StringProperty(), "kind": *spec.StringProperty(), "name": *spec.StringProperty(), "uid": *spec.StringProperty(),
		"controller": *spec.BooleanProperty(), "blockOwnerDeletion": *spec.BooleanProperty(),
	})
	owner.Extensions = spec.Extensions{"x-kubernetes-map-type": "atomic"}
	entry := model(map[string]spec.Schema{
		"manager": *spec.StringProperty(), "operation": *spec.StringProperty(), "apiVersion": *spec.StringProperty(), "time": time(),
		"fieldsType": *spec.StringProperty(), "subresource": *spec.StringProperty(),
		"fieldsV1": {SchemaProps: spec.SchemaProps{Type: []string{"object"}}},
	})
	meta := model(map[string]spec.Schema{
		"name": *spec.StringProperty(), "generateName": *spec.StringProperty(), "namespace": *spec.StringProperty(),
		"selfLink": *spec.StringProperty(), "uid": *spec.StringProperty(), "resourceVersion": *spec.StringProperty(),
		"generation": *spec.Int64Property(), "deletionGracePeriodSeconds": *spec.Int64Property(),
		"creationTimestamp": time(), "deletionTimestamp": time(), "labels": texts(), "annotations": texts(),
		"finalizers": list(spec.StringProperty(), spec.Extensions{"x-kubernetes-list-type": "set"}),
		"ownerReferences": list(ref("OwnerReference"), spec.Extensions{
			"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": []any{"uid"}}),
		"managedFields": list(ref("ManagedFieldsEntry"), spec.Extensions{"x-kubernetes-list-type": "atomic"}),
	})
	return map[string]*spec.Schema{prefix + "ObjectMeta": meta, prefix + "OwnerReference": owner, prefix + "ManagedFieldsEntry": entry}
}
