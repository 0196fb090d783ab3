package managedfields

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apimanaged "k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"codeberg.org/skiff/skiff/server/api"
)

// newFull makes apimachinery's field manager for the same version and subresource.
func (m *Manager) newFull() (*apimanaged.FieldManager, error) {
	c := converter{m.kind}
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if m.reset != nil {
		reset = map[fieldpath.APIVersion]fieldpath.Filter{}
		for i := range m.kind.Versions {
			v := gvkOf(m.kind, &m.kind.Versions[i]).GroupVersion().String()
			reset[fieldpath.APIVersion(v)] = fieldpath.NewExcludeSetFilter(m.reset)
		}
	}
	gvk, hub := gvkOf(m.kind, m.version), m.kind.GVK().GroupVersion()
	if _, custom := m.version.New().(*unstructured.Unstructured); custom {
		types, err := customConverter(m.kind)
		if err != nil {
			return nil, err
		}
		if m.kind.Convert != nil {
			hub = gvk.GroupVersion() // a request for a custom kind works on objects of its own version
		}
		return apimanaged.NewDefaultCRDFieldManager(types, c, c, c, gvk, hub, m.subresource, reset)
	}
	return apimanaged.NewDefaultFieldManager(builtInConverter(m.kind), c, c, c, gvk, hub, m.subresource, reset)
}

// Apply merges config, which is what a client applies in this manager's version, into live (nil: it does not exist),
// and returns a new hub object (of a custom kind: one of this manager's version) with its managedFields. Fields that others manage differently are a conflict, which
// force resolves.
func (m *Manager) Apply(live api.Object, config *unstructured.Unstructured, manager string, force bool) (api.Object, error) {
	full, err := m.full()
	if err != nil {
		return nil, err
	}
	worksOn := m.kind.Hub()
	if m.kind.Convert != nil {
		worksOn = m.version
	}
	if live == nil {
		live = worksOn.New()
	}
	current, err := converter{m.kind}.from(live, worksOn, m.version)
	if err != nil {
		return nil, err
	}
	merged, err := full.Apply(current, config, manager, force)
	if err != nil {
		return nil, err
	}
	hub, err := converter{m.kind}.ConvertToVersion(merged, gvkOf(m.kind, worksOn).GroupVersion())
	if err != nil {
		return nil, err
	}
	out, ok := hub.(api.Object)
	if !ok {
		return nil, fmt.Errorf("apply made a %T, which has no metadata", hub)
	}
	if _, custom := out.(runtime.Unstructured); !custom {
		out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return out, nil
}

func (m *Manager) fullCreate(obj api.Object, manager string) error {
	return m.fullUpdate(m.kind.Hub().New(), obj, manager)
}

func (m *Manager) fullUpdate(old, obj api.Object, manager string) error {
	full, err := m.full()
	if err != nil {
		return err
	}
	c := converter{m.kind}
	before, err := c.from(old, m.kind.Hub(), m.version)
	if err != nil {
		return err
	}
	after, err := c.from(obj, m.kind.Hub(), m.version)
	if err != nil {
		return err
	}
	out, ok := full.UpdateNoErrors(before, after, manager).(api.Object)
	if !ok {
		return fmt.Errorf("field management of a %T", obj)
	}
	obj.SetManagedFields(out.GetManagedFields())
	return nil
}

// converter is what apimachinery's field manager needs to know of a kind: how its versions convert. Objects that it
// makes carry their TypeMeta, by which the field manager knows them.
type converter struct{ kind *api.Kind }

var (
	_ runtime.ObjectConvertor = converter{}
	_ runtime.ObjectDefaulter = converter{}
	_ runtime.ObjectCreater   = converter{}
)

// Default does nothing: the registry defaults what comes out.
func (converter) Default(runtime.Object) {}

func (c converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	v := c.versionOf(gvk.GroupVersion())
	if v == nil {
		return nil, runtime.NewNotRegisteredErrForKind("catalogue", gvk)
	}
	obj := v.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

func (c converter) versionOf(gv schema.GroupVersion) *api.Version {
	for i := range c.kind.Versions {
		if v := &c.kind.Versions[i]; v.Group == gv.Group && v.Version == gv.Version {
			return v
		}
	}
	return nil
}

// ConvertToVersion converts a typed or unstructured object that carries its TypeMeta.
func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	want, ok := target.(schema.GroupVersion)
	if !ok {
		return nil, fmt.Errorf("convert %s: cannot convert to %v", gvk, target)
	}
	from, to := c.versionOf(gvk.GroupVersion()), c.versionOf(want)
	if from == nil {
		return nil, runtime.NewNotRegisteredErrForKind("catalogue", gvk)
	}
	if to == nil {
		return nil, runtime.NewNotRegisteredErrForKind("catalogue", want.WithKind(c.kind.Kind))
	}
	obj, err := c.structured(in, from)
	if err != nil {
		return nil, err
	}
	if from == to {
		return obj, nil
	}
	return c.from(obj, from, to)
}

// structured makes the Go type of a version from an unstructured object.
func (c converter) structured(in runtime.Object, v *api.Version) (api.Object, error) {
	u, loose := in.(*unstructured.Unstructured)
	out := v.New()
	if _, custom := out.(*unstructured.Unstructured); !loose || custom {
		obj, ok := in.(api.Object)
		if !ok {
			return nil, fmt.Errorf("a %T has no metadata", in)
		}
		return obj, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("convert %s %q: %w", c.kind.Kind, u.GetName(), err)
	}
	return out, nil
}

// from converts between two versions, by way of the hub. The result is a copy that carries its TypeMeta.
func (c converter) from(in api.Object, from, to *api.Version) (api.Object, error) {
	if c.kind.Convert != nil {
		return c.custom(in, to)
	}
	out := in.DeepCopyObject().(api.Object)
	var err error
	if from != to && from.ToHub != nil {
		if out, err = from.ToHub(out); err != nil {
			return nil, err
		}
	}
	if from != to && to.FromHub != nil {
		if out, err = to.FromHub(out); err != nil {
			return nil, err
		}
	}
	out.GetObjectKind().SetGroupVersionKind(gvkOf(c.kind, to))
	return out, nil
}

// custom converts objects of custom kinds, which say themselves which version they are of. Empty ones become empty ones
// without asking a webhook.
func (c converter) custom(in api.Object, to *api.Version) (api.Object, error) {
	out := in.DeepCopyObject().(api.Object)
	gvk := gvkOf(c.kind, to)
	if _, ok := out.(*unstructured.Unstructured); ok && out.GetName() != "" && out.GetObjectKind().GroupVersionKind() != gvk {
		return c.kind.ConvertTo(out, to)
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}

// ConvertFieldLabel is not used by field management.
func (converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Convert is not used by field management.
func (converter) Convert(in, out, _ any) error {
	return fmt.Errorf("convert %T to %T: only whole versions are converted", in, out)
}
