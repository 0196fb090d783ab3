package match

import (
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// View is the objects of a request in one version, with their TypeMeta; nil where there is none. They are for reading.
type View struct{ Object, Old runtime.Object }

// View shows the objects to a target.
func (m *Subject) View(t Target) (*View, error) {
	if v := m.views[t.Kind]; v != nil {
		return v, nil
	}
	v := &View{}
	var err error
	if v.Object, err = m.show(m.Object, t); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if v.Old, err = m.show(m.Old, t); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if m.views == nil {
		m.views = map[schema.GroupVersionKind]*View{}
	}
	m.views[t.Kind] = v
	return v, nil
}

func (m *Subject) show(obj runtime.Object, t Target) (runtime.Object, error) {
	if obj == nil || reflect.ValueOf(obj).IsNil() {
		return nil, nil
	}
	obj = m.shown(obj)
	if whole, ok := obj.(api.Object); ok && !m.foreign() {
		var err error
		if obj, err = convert(m.Attributes.Kind, whole, t.version); err != nil {
			return nil, fmt.Errorf("convert %s %q to %s: %w", m.Attributes.Kind.Kind, whole.GetName(), t.Kind, err)
		}
	}
	return WithType(obj, t.Kind), nil
}

// convert brings what a request works on to a version: custom objects are in the version that the request speaks, others
// in the hub.
func convert(k *api.Kind, obj api.Object, to *api.Version) (api.Object, error) {
	switch {
	case k.Convert != nil:
		return k.ConvertTo(obj, to)
	case to.FromHub != nil:
		return to.FromHub(obj)
	}
	return obj, nil
}

// WithType is obj, or a shallow copy of it, that says of which kind it is.
func WithType(obj runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
	if obj.GetObjectKind().GroupVersionKind() == gvk {
		return obj
	}
	if _, custom := obj.(runtime.Unstructured); custom {
		obj = obj.DeepCopyObject()
	} else {
		from := reflect.ValueOf(obj).Elem()
		to := reflect.New(from.Type())
		to.Elem().Set(from)
		obj = to.Interface().(runtime.Object)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj
}

// NewObject returns an empty object of a target's kind, to decode into.
func (m *Subject) NewObject(t Target) runtime.Object {
	if !m.foreign() {
		return t.version.New()
	}
	if m.sub.New != nil {
		return m.sub.New()
	}
	return reflect.New(reflect.TypeOf(m.Object).Elem()).Interface().(runtime.Object)
}

// Replace makes obj, of a target's kind, the new state of the request's object: converted, pruned and defaulted. The
// request's object stays the same variable, for others hold it. obj is not used again.
func (m *Subject) Replace(t Target, obj runtime.Object) error {
	next, err := m.back(t, obj)
	if err != nil {
		return err
	}
	if err := m.sameIdentity(next); err != nil {
		return err
	}
	to, from := reflect.ValueOf(m.Object), reflect.ValueOf(next)
	if to.Type() != from.Type() {
		return fmt.Errorf("a %T cannot become a %T", m.Object, next)
	}
	to.Elem().Set(from.Elem())
	m.views = nil
	return nil
}

// back brings an object of a target's kind to the form in which the request holds it.
func (m *Subject) back(t Target, obj runtime.Object) (runtime.Object, error) {
	k := m.Attributes.Kind
	if m.foreign() {
		whole, isObject := m.Object.(api.Object)
		if m.sub.Project == nil || m.sub.Inject == nil || !isObject {
			return obj, nil // the body of an action, or the options of a stream
		}
		next, err := m.sub.Inject(whole, obj)
		if err != nil {
			return nil, err
		}
		next.SetManagedFields(whole.GetManagedFields())
		next.SetResourceVersion(whole.GetResourceVersion())
		return next, nil
	}
	sent, ok := obj.(api.Object)
	if !ok {
		return nil, fmt.Errorf("a %T has no metadata", obj)
	}
	next, err := m.spoken(sent, t)
	if err != nil {
		return nil, err
	}
	if v := m.Asked.version; v.Prune != nil {
		if _, err := v.Prune(next); err != nil {
			return nil, err
		}
	}
	if s := k.StrategyOf(m.Version); s.Default != nil && m.Subresource == "" {
		s.Default(next)
	}
	return next, nil
}

// spoken converts to the version that the request works on.
func (m *Subject) spoken(obj api.Object, t Target) (api.Object, error) {
	k := m.Attributes.Kind
	if k.Convert != nil {
		return k.ConvertTo(obj, m.Asked.version)
	}
	var err error
	if t.version.ToHub != nil {
		if obj, err = t.version.ToHub(obj); err != nil {
			return nil, err
		}
	}
	if _, custom := obj.(runtime.Unstructured); !custom {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj, nil
}

// sameIdentity keeps whoever changes an object from making another of it.
func (m *Subject) sameIdentity(next runtime.Object) error {
	was, ok := m.Object.(metav1.Object)
	now, also := next.(metav1.Object)
	if !ok || !also {
		return nil
	}
	if now.GetNamespace() != was.GetNamespace() {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if m.Verb == "CREATE" && m.Subresource == "" {
		now.SetUID(was.GetUID())
		now.SetCreationTimestamp(was.GetCreationTimestamp())
	}
	now.SetResourceVersion(was.GetResourceVersion())
	now.SetSelfLink("")
	return nil
}
