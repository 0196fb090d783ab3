package managedfields

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"codeberg.org/skiff/skiff/server/api"
)

// Merge merges config into obj as server-side apply would, and tells nobody whose the fields are then. v is obj's
// version of the kind, or nil when obj is of a subresource's own kind; obj carries its TypeMeta and is not changed.
// config must not hold whole atomic lists, maps or structs, for it would take away what it does not mention.
func Merge(k *api.Kind, v *api.Version, obj runtime.Object, config map[string]any) (any, error) {
	s, err := shapeOfObject(k, v, obj)
	if err != nil {
		return nil, err
	}
	patch, err := typed.AsTyped(value.NewValueInterface(config), s.schema, s.ref)
	if err != nil {
		return nil, fmt.Errorf("failed to convert patch object to typed object: %w", err)
	}
	if atomics := s.atomics(nil, s.ref, patch.AsValue()); len(atomics) > 0 {
		return nil, fmt.Errorf("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %v", strings.Join(atomics, ", "))
	}
	live, err := s.typed(obj)
	if err != nil {
		return nil, fmt.Errorf("failed to convert original object to typed object: %w", err)
	}
	merged, err := live.Merge(patch)
	if err != nil {
		return nil, fmt.Errorf("failed to merge patch: %w", err)
	}
	return merged.AsValue().Unstructured(), nil
}

func shapeOfObject(k *api.Kind, v *api.Version, obj runtime.Object) (shape, error) {
	if v != nil {
		return shapeOf(k, v)
	}
	tv, err := builtIn().ObjectToTyped(obj, typed.AllowDuplicates)
	if err != nil {
		return shape{}, err
	}
	return shape{tv.Schema(), tv.TypeRef()}, nil
}

// atomics are the paths in v of what can only be replaced as a whole.
func (s shape) atomics(path []fieldpath.PathElement, ref schema.TypeRef, v value.Value) (out []string) {
	a, ok := s.schema.Resolve(ref)
	if !ok || v.IsNull() {
		return nil
	}
	if v.IsMap() && a.Map != nil {
		if a.Map.ElementRelationship == schema.Atomic {
			out = append(out, pathOf(path))
		}
		v.AsMap().Iterate(func(name string, inner value.Value) bool {
			next := a.Map.ElementType
			if f, found := a.Map.FindField(name); found {
				next = f.Type
			}
			out = append(out, s.atomics(append(path, fieldpath.PathElement{FieldName: &name}), next, inner)...)
			return true
		})
	}
	if v.IsList() && a.List != nil {
		if a.List.ElementRelationship == schema.Atomic {
			out = append(out, pathOf(path))
		}
		list := v.AsList()
		for i := range list.Length() {
			out = append(out, s.atomics(append(path, fieldpath.PathElement{Index: &i}), a.List.ElementType, list.At(i))...)
		}
	}
	return out
}

func pathOf(path []fieldpath.PathElement) string {
	var b strings.Builder
	for _, e := range path {
		b.WriteString(e.String())
	}
	return b.String()
}
