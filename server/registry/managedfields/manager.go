package managedfields

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apimanaged "k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"codeberg.org/skiff/skiff/server/api"
)

// maxManagers is how many Update entries an object keeps; beyond, the oldest are merged.
const maxManagers = 10

// stripped are the fields that nobody manages.
var stripped = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"),
	fieldpath.MakePathOrDie("kind"),
	fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"),
	fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"),
	fieldpath.MakePathOrDie("metadata", "selfLink"),
	fieldpath.MakePathOrDie("metadata", "uid"),
	fieldpath.MakePathOrDie("metadata", "clusterName"),
	fieldpath.MakePathOrDie("metadata", "generation"),
	fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
)

// Manager does the bookkeeping for what is written through one version and subresource of a kind. It is safe for
// concurrent use.
type Manager struct {
	kind        *api.Kind
	version     *api.Version
	subresource string
	apiVersion  string
	shape       shape
	// empty is what a new object is compared with.
	empty *typed.TypedValue
	// reset are the fields that a write through here cannot set, and so does not own: status through the main resource,
	// spec through status.
	reset *fieldpath.Set
	full  func() (*apimanaged.FieldManager, error)
}

type managerKey struct {
	version     *api.Version
	subresource string
}

// managers by what they manage; versions are entries of the catalogue, so there are few.
var managers sync.Map

// For returns the manager of a version and subresource of a kind.
func For(k *api.Kind, v *api.Version, subresource string) (*Manager, error) {
	key, managers := managerKey{v, subresource}, &managers
	if v.Custom != nil {
		managers = &v.Custom.Memo // definitions change, and their managers must go with them
	}
	if m, ok := managers.Load(key); ok {
		return m.(*Manager), nil
	}
	m, err := newManager(k, v, subresource)
	if err != nil {
		return nil, err
	}
	managers.Store(key, m)
	return m, nil
}

func newManager(k *api.Kind, v *api.Version, subresource string) (*Manager, error) {
	s, err := shapeOf(k, v)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		kind: k, version: v, subresource: subresource, shape: s,
		apiVersion: gvkOf(k, v).GroupVersion().String(),
		reset:      resetFields(k, v, subresource),
	}
	if m.empty, err = s.typed(v.New()); err != nil {
		return nil, err
	}
	m.full = sync.OnceValues(m.newFull)
	return m, nil
}

func resetFields(k *api.Kind, v *api.Version, subresource string) *fieldpath.Set {
	switch {
	case subresource == "status" && v.Custom != nil:
		return fieldpath.NewSet(fieldpath.MakePathOrDie("metadata"), fieldpath.MakePathOrDie("spec"))
	case subresource == "" && k.SubresourceOf(v, "status") != nil:
		return fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
	case subresource == "status":
		return fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
	}
	return nil
}

// Created makes the managedFields of a new object.
func (m *Manager) Created(obj api.Object, manager string, now metav1.Time) error {
	if obj.GetManagedFields() != nil {
		return m.fullCreate(obj, manager)
	}
	versioned, err := m.toVersion(obj)
	if err != nil {
		return err
	}
	changes, err := m.compare(m.empty, versioned)
	if err != nil && m.kind.Convert != nil {
		return m.fullCreate(obj, manager)
	}
	if err != nil {
		return err
	}
	set := owned(changes)
	if set.Empty() {
		return nil
	}
	e := entry{set: set, changed: true, ManagedFieldsEntry: m.newEntry(manager, now)}
	fields, err := encode([]entry{e})
	obj.SetManagedFields(fields)
	return err
}

// Updated makes the managedFields of obj, the new state of old. same means that obj differs from old in nothing that
// is stored; its managedFields are then those of old.
func (m *Manager) Updated(old, obj api.Object, manager string, now metav1.Time) (same bool, err error) {
	have := old.GetManagedFields()
	if m.subresource == "" && !unchanged(have, obj.GetManagedFields()) {
		return false, m.fullUpdate(old, obj, manager)
	}
	changes, err := m.changes(old, obj)
	if err != nil && m.kind.Convert != nil {
		// Lists that do not keep to their schema cannot be compared, and custom objects may have such, from before the schema.
		return false, m.fullUpdate(old, obj, manager)
	}
	if err != nil {
		return false, err
	}
	obj.SetManagedFields(have)
	if changes.IsSame() {
		return true, nil
	}
	if len(have) == 0 { // not tracked since its creation: its fields have no known managers
		return false, nil
	}
	if !m.simple(have, manager) {
		return false, m.fullUpdate(old, obj, manager)
	}
	fields, err := m.take(have, changes.ExcludeFields(m.reset), m.newEntry(manager, now))
	if err != nil {
		return false, m.fullUpdate(old, obj, manager)
	}
	obj.SetManagedFields(fields)
	return false, nil
}

// Same says that obj differs from old in nothing that is stored but managedFields, which it takes from obj.
func (m *Manager) Same(old, obj api.Object) (bool, error) {
	changes, err := m.changes(old, obj)
	return err == nil && changes.IsSame(), err
}

// take gives the changed fields to one manager and away from the others.
func (m *Manager) take(have []metav1.ManagedFieldsEntry, changes *typed.Comparison, mine metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	entries := make([]entry, 0, len(have)+1)
	set := owned(changes)
	found := false
	for _, h := range have {
		e, err := decode(h)
		if err != nil {
			return nil, err
		}
		e.remove(changes.Removed)
		if sameManager(h, mine) {
			found = true
			e.add(set, mine.Time)
		} else {
			e.remove(changes.Modified)
			e.remove(changes.Added)
		}
		if !e.set.Empty() {
			entries = append(entries, e)
		}
	}
	if !found && !set.Empty() {
		entries = append(entries, entry{ManagedFieldsEntry: mine, set: set, changed: true})
	}
	return encode(entries)
}

// changes compares the two states, both without managedFields.
func (m *Manager) changes(old, obj api.Object) (*typed.Comparison, error) {
	before, err := m.toVersion(bare(old))
	if err != nil {
		return nil, err
	}
	obj.SetManagedFields(nil)
	after, err := m.toVersion(obj)
	if err != nil {
		return nil, err
	}
	tv, err := m.shape.typed(before)
	if err != nil {
		return nil, err
	}
	next, err := m.shape.typed(after)
	if err != nil {
		return nil, err
	}
	return tv.Compare(next)
}

func (m *Manager) compare(old *typed.TypedValue, obj api.Object) (*typed.Comparison, error) {
	tv, err := m.shape.typed(obj)
	if err != nil {
		return nil, err
	}
	changes, err := old.Compare(tv)
	if err != nil {
		return nil, fmt.Errorf("compare %s %q with its former state: %w", m.kind.Kind, obj.GetName(), err)
	}
	return changes.ExcludeFields(m.reset), nil
}

// owned are the fields that a manager gets by making changes.
func owned(c *typed.Comparison) *fieldpath.Set {
	return c.Added.Union(c.Modified).Difference(stripped)
}

// simple says that the short way gives the right answer: one version, and room for one more manager.
func (m *Manager) simple(have []metav1.ManagedFieldsEntry, manager string) bool {
	updates := 0
	for _, e := range have {
		if e.APIVersion != m.apiVersion || e.FieldsType != "FieldsV1" || e.FieldsV1 == nil {
			return false
		}
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			updates++
		}
	}
	return updates < maxManagers
}

func (m *Manager) newEntry(manager string, now metav1.Time) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager:     manager,
		Operation:   metav1.ManagedFieldsOperationUpdate,
		APIVersion:  m.apiVersion,
		Time:        &now,
		FieldsType:  "FieldsV1",
		Subresource: m.subresource,
	}
}

func (m *Manager) toVersion(obj api.Object) (api.Object, error) {
	if m.kind.Convert != nil {
		return obj, nil // it is of this version already
	}
	if m.version.FromHub == nil {
		return obj, nil
	}
	return m.version.FromHub(obj)
}

func gvkOf(k *api.Kind, v *api.Version) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: k.Kind}
}
