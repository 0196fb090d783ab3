package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// wire knows how the patched object looks to the caller: its version, or the subresource's own type.
type wire struct {
	gvk      schema.GroupVersionKind
	new      func() runtime.Object
	fromHub  func(api.Object) (api.Object, error) // nil: nothing to convert
	toHub    func(api.Object) (api.Object, error)
	strict   *strictness
	prune    func(api.Object) ([]string, error) // nil unless custom
	keepMeta bool                               // the patch speaks of managedFields
}

func newWire(o Options) (*wire, error) {
	w := &wire{
		gvk:     schema.GroupVersionKind{Group: o.Version.Group, Version: o.Version.Version, Kind: o.Kind.Kind},
		new:     func() runtime.Object { return o.Version.New() },
		fromHub: o.Version.FromHub,
		toHub:   o.Version.ToHub,
		prune:   o.Version.Prune,
		strict:  &strictness{directive: o.FieldValidation, warn: o.Warn},
	}
	if o.Subresource == "" {
		return w, nil
	}
	sub := o.Kind.SubresourceOf(o.Version, o.Subresource)
	if sub == nil {
		return nil, apierrors.NewNotFound(o.Kind.GroupResource(), o.Subresource)
	}
	if sub.New != nil {
		w.gvk, w.new, w.fromHub, w.toHub, w.prune = sub.GVK, sub.New, nil, nil, nil
	}
	return w, nil
}

// speaksOf notes whether a patch touches managedFields; if not, the JSON goes without them, which is a good part of it.
func (w *wire) speaksOf(body []byte) {
	w.keepMeta = bytes.Contains(body, []byte("managedFields"))
}

// show is the current object as the caller sees it: a copy that carries its TypeMeta.
func (w *wire) show(current runtime.Object) (runtime.Object, error) {
	obj := current.DeepCopyObject()
	if w.fromHub != nil {
		converted, err := w.fromHub(obj.(api.Object))
		if err != nil {
			return nil, err
		}
		obj = converted
	}
	obj.GetObjectKind().SetGroupVersionKind(w.gvk)
	if meta, ok := obj.(metav1.Object); ok && !w.keepMeta {
		meta.SetManagedFields(nil)
	}
	return obj, nil
}

func (w *wire) encode(current runtime.Object) ([]byte, error) {
	obj, err := w.show(current)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", w.gvk, err)
	}
	return data, nil
}

// decode makes a hub object of the patched JSON. mistakes are those found in the patch already.
func (w *wire) decode(data []byte, mistakes []error) (runtime.Object, error) {
	obj := w.new()
	found, err := unmarshal(data, obj)
	if err != nil {
		return nil, invalidPatch(string(data), err)
	}
	mistakes = append(mistakes, found...)
	if o, ok := obj.(api.Object); ok && w.prune != nil {
		unknown, err := w.prune(o)
		if err != nil {
			return nil, invalidPatch(string(data), err)
		}
		for _, text := range unknown {
			mistakes = append(mistakes, errors.New(text))
		}
	}
	if err := w.strict.check(mistakes, string(data)); err != nil {
		return nil, err
	}
	return w.finish(obj)
}

// unmarshal is strict JSON decoding into a typed or a custom object.
func unmarshal(data []byte, obj runtime.Object) ([]error, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return kjson.UnmarshalStrict(data, obj)
	}
	content := map[string]any{}
	mistakes, err := kjson.UnmarshalStrict(data, &content)
	if err == nil {
		err = wellFormed(content)
	}
	u.Object = content
	return mistakes, err
}

// wellFormed refuses metadata of the wrong type, which unstructured accessors would read as absent.
func wellFormed(content map[string]any) error {
	meta, ok := content["metadata"]
	if !ok {
		return nil
	}
	fields, ok := meta.(map[string]any)
	if !ok {
		return fmt.Errorf("metadata must be an object")
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &metav1.ObjectMeta{})
}

// finish checks that the object still is of its kind, and converts it to the hub.
func (w *wire) finish(obj runtime.Object) (runtime.Object, error) {
	if gvk := obj.GetObjectKind().GroupVersionKind(); gvk != w.gvk {
		if u, ok := obj.(*unstructured.Unstructured); ok && gvk.GroupVersion() == w.gvk.GroupVersion() {
			return nil, registry.OtherKind(gvk, u.GetName(), w.gvk.Kind)
		}
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", gvk, w.gvk))
	}
	if !custom(obj) {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if w.toHub == nil {
		return obj, nil
	}
	return w.toHub(obj.(api.Object))
}

// invalidPatch is what upstream answers when the patch makes something that is no object.
func invalidPatch(shown string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, err.Error())})
}
