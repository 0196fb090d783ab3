package managedfields

import (
	"fmt"
	"reflect"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensionsconfigurations "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration"
	"k8s.io/apimachinery/pkg/runtime"
	apimanaged "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"codeberg.org/skiff/skiff/server/api"
)

// builtIn converts objects of built-in kinds. Parsing its schema costs 150 ms and 1 MB, once.
var builtIn = sync.OnceValue(func() apimanaged.TypeConverter {
	return applyconfigurations.NewTypeConverter(api.Scheme)
})

// extensions converts CustomResourceDefinitions, which client-go does not know.
var extensions = sync.OnceValue(func() apimanaged.TypeConverter {
	return extensionsconfigurations.NewTypeConverter(api.Scheme)
})

func builtInConverter(k *api.Kind) apimanaged.TypeConverter {
	switch k.Group {
	case apiextensionsv1.GroupName:
		return extensions()
	case "apiregistration.k8s.io": // nobody publishes a schema of it; its one list merges by nothing
		return deduced
	}
	return builtIn()
}

// Warm parses the schema of the built-in kinds now instead of at the first write.
func Warm() { BuiltIn() }

var deduced = apimanaged.NewDeducedTypeConverter()

// BuiltIn is the schema of the built-in kinds: how each list and map merges, and defaults. It is shared: do not change it.
func BuiltIn() *schema.Schema {
	pod := &corev1.Pod{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	tv, err := builtIn().ObjectToTyped(pod)
	if err != nil {
		panic(err) // client-go's own schema has pods
	}
	return tv.Schema()
}

// FindType looks for a struct by its definition name, e.g. io.k8s.api.core.v1.PodSpec, and returns the schema that it is
// in, in which its fields resolve; nil when nobody knows it.
func FindType(name string) (*schema.Schema, *schema.Map) {
	if def, ok := BuiltIn().FindNamedType(name); ok {
		return BuiltIn(), def.Map
	}
	empty := &apiextensionsv1.CustomResourceDefinition{}
	empty.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	tv, err := extensions().ObjectToTyped(empty)
	if err != nil {
		return nil, nil
	}
	if def, ok := tv.Schema().FindNamedType(name); ok {
		return tv.Schema(), def.Map
	}
	return nil, nil
}

// shape is where an object's type is in a schema: all that is needed to compare two of them.
type shape struct {
	schema *schema.Schema
	ref    schema.TypeRef
}

// shapeOf finds the schema of a version of a kind.
func shapeOf(k *api.Kind, v *api.Version) (shape, error) {
	empty := v.New()
	if _, custom := empty.(*unstructured.Unstructured); custom {
		return customShape(k, v)
	}
	empty.GetObjectKind().SetGroupVersionKind(gvkOf(k, v))
	tv, err := builtInConverter(k).ObjectToTyped(empty)
	if err != nil {
		return shape{}, fmt.Errorf("find the schema of %s: %w", gvkOf(k, v), err)
	}
	return shape{tv.Schema(), tv.TypeRef()}, nil
}

// typed wraps obj without validating it: its Go type has done that.
func (s shape) typed(obj runtime.Object) (*typed.TypedValue, error) {
	if u, custom := obj.(*unstructured.Unstructured); custom {
		return typed.AsTypedUnvalidated(value.NewValueInterface(u.Object), s.schema, s.ref), nil
	}
	v, err := value.NewValueReflect(obj)
	if err != nil {
		return nil, fmt.Errorf("read %T by reflection: %w", obj, err)
	}
	return typed.AsTypedUnvalidated(v, s.schema, s.ref), nil
}

// bare is a shallow copy of obj without managedFields. What it points to is shared, so it is only for reading.
func bare(obj api.Object) api.Object {
	if u, custom := obj.(*unstructured.Unstructured); custom {
		out := &unstructured.Unstructured{Object: make(map[string]any, len(u.Object))}
		for key, v := range u.Object {
			out.Object[key] = v
		}
		if meta, ok := u.Object["metadata"].(map[string]any); ok {
			without := make(map[string]any, len(meta))
			for key, v := range meta {
				if key != "managedFields" {
					without[key] = v
				}
			}
			out.Object["metadata"] = without
		}
		return out
	}
	from := reflect.ValueOf(obj).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	out := to.Interface().(api.Object)
	out.SetManagedFields(nil)
	return out
}
