package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// protobufMagic opens every protobuf value, before the runtime.Unknown that envelops the object.
var protobufMagic = []byte("k8s\x00")

// protobufObject is what the generated API types implement.
type protobufObject interface {
	Size() int
	MarshalTo([]byte) (int, error)
	Unmarshal([]byte) error
}

// encode makes the bytes that go into etcd: no resourceVersion, for that is etcd's revision.
// The same object always gives the same bytes.
func encode(k *api.Kind, obj api.Object) ([]byte, error) {
	if obj.GetResourceVersion() != "" {
		obj = withRevision(obj, "")
	}
	var value []byte
	var err error
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		value, err = json.Marshal(o.Object)
	case protobufObject:
		value, err = encodeProtobuf(k.GVK(), o)
	default:
		err = fmt.Errorf("%T is neither protobuf nor unstructured", obj)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", k.Kind, k.Key(obj.GetNamespace(), obj.GetName()), err)
	}
	if len(value) > MaxObjectSize {
		return nil, fmt.Errorf("%s %s has %d bytes, the limit is %d: %w", k.Kind, k.Key(obj.GetNamespace(), obj.GetName()),
			len(value), MaxObjectSize, ErrTooLarge)
	}
	return value, nil
}

func encodeProtobuf(gvk schema.GroupVersionKind, obj protobufObject) ([]byte, error) {
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind}}
	size := uint64(obj.Size())
	// The envelope adds its own fields and at most two varints to the object.
	value := make([]byte, uint64(len(protobufMagic))+uint64(envelope.Size())+size+16)
	copy(value, protobufMagic)
	n, err := envelope.NestedMarshalTo(value[len(protobufMagic):], obj, size)
	return value[:len(protobufMagic)+n], err
}

// decode makes the object that the cache holds of what etcd holds: in the hub version, with defaults filled in, with
// resourceVersion rev, and with empty TypeMeta if it is typed.
func decode(k *api.Kind, value []byte, rev int64) (api.Object, error) {
	obj, err := decodeAny(k, value)
	if err != nil {
		return nil, err
	}
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	if k.Default != nil {
		k.Default(obj)
	}
	return obj, nil
}

func decodeAny(k *api.Kind, value []byte) (api.Object, error) {
	raw, isProtobuf := bytes.CutPrefix(value, protobufMagic)
	if !isProtobuf {
		return decodeJSON(k, value)
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	v, err := versionOf(k, envelope.APIVersion, envelope.Kind)
	if err != nil {
		return nil, err
	}
	obj, ok := v.New().(protobufObject)
	if !ok {
		return nil, fmt.Errorf("%s %s has no protobuf form", envelope.APIVersion, envelope.Kind)
	}
	if err := obj.Unmarshal(envelope.Raw); err != nil {
		return nil, err
	}
	return toHub(v, obj.(api.Object))
}

func decodeJSON(k *api.Kind, value []byte) (api.Object, error) {
	var head runtime.TypeMeta
	if err := json.Unmarshal(value, &head); err != nil {
		return nil, err
	}
	if k.Convert != nil {
		return decodeCustom(value)
	}
	v, err := versionOf(k, head.APIVersion, head.Kind)
	if err != nil {
		return nil, err
	}
	obj := v.New()
	if custom, ok := obj.(*unstructured.Unstructured); ok {
		err = custom.UnmarshalJSON(value)
	} else if err = json.Unmarshal(value, obj); err == nil {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if err != nil {
		return nil, err
	}
	return toHub(v, obj)
}

// decodeCustom keeps an object in the version it is stored in, even one that its definition has no more: the object can
// still be seen and deleted.
func decodeCustom(value []byte) (api.Object, error) {
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(value); err != nil {
		return nil, err
	}
	return obj, nil
}

// versionOf finds which version of k, of those that may be in etcd, an apiVersion names.
func versionOf(k *api.Kind, apiVersion, kind string) (*api.Version, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	for _, versions := range [][]api.Version{k.Versions, k.Stored} {
		for i := range versions {
			if v := &versions[i]; v.Group == gv.Group && v.Version == gv.Version && k.Kind == kind {
				return v, nil
			}
		}
	}
	return nil, fmt.Errorf("a %s %s is stored where a %s is expected", apiVersion, kind, k.GVK())
}

func toHub(v *api.Version, obj api.Object) (api.Object, error) {
	if v.ToHub == nil {
		return obj, nil
	}
	return v.ToHub(obj)
}

// withRevision returns a shallow copy of obj with another resourceVersion; what it points to stays shared.
func withRevision(obj api.Object, rv string) api.Object {
	if custom, ok := obj.(*unstructured.Unstructured); ok {
		return customWithRevision(custom, rv)
	}
	shallow := reflect.New(reflect.TypeOf(obj).Elem())
	shallow.Elem().Set(reflect.ValueOf(obj).Elem())
	out := shallow.Interface().(api.Object)
	out.SetResourceVersion(rv)
	return out
}

func customWithRevision(obj *unstructured.Unstructured, rv string) api.Object {
	out := make(map[string]any, len(obj.Object))
	for key, value := range obj.Object {
		out[key] = value
	}
	old, _ := obj.Object["metadata"].(map[string]any)
	meta := make(map[string]any, len(old))
	for key, value := range old {
		meta[key] = value
	}
	out["metadata"] = meta
	copied := &unstructured.Unstructured{Object: out}
	copied.SetResourceVersion(rv) // removes the field when rv is empty
	return copied
}
