package managedfields

import (
	"bytes"
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// entry is one of an object's managedFields, decoded.
type entry struct {
	metav1.ManagedFieldsEntry
	set *fieldpath.Set
	// changed says that FieldsV1 must be made again from set.
	changed bool
}

func decode(e metav1.ManagedFieldsEntry) (entry, error) {
	set := &fieldpath.Set{}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return entry{}, err
	}
	return entry{ManagedFieldsEntry: e, set: set}, nil
}

func (e *entry) remove(fields *fieldpath.Set) {
	if fields.Empty() {
		return
	}
	rest := e.set.Difference(fields)
	if rest.Size() != e.set.Size() {
		e.set, e.changed = rest, true
	}
}

func (e *entry) add(fields *fieldpath.Set, at *metav1.Time) {
	if fields.Empty() {
		return
	}
	e.set, e.Time, e.changed = e.set.Union(fields), at, true
}

// sameManager says that two entries are of one manager, operation, version and subresource.
func sameManager(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource
}

// encode makes managedFields in the order in which the API shows them: by operation, time, manager.
func encode(entries []entry) ([]metav1.ManagedFieldsEntry, error) {
	out := make([]metav1.ManagedFieldsEntry, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = e.ManagedFieldsEntry
		if !e.changed {
			continue
		}
		raw, err := e.set.ToJSON()
		if err != nil {
			return nil, err
		}
		out[i].FieldsV1 = &metav1.FieldsV1{}
		out[i].FieldsV1.SetRawBytes(raw)
	}
	slices.SortFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(
			cmp.Compare(a.Operation, b.Operation),
			cmp.Compare(seconds(a.Time), seconds(b.Time)),
			cmp.Compare(a.Manager, b.Manager),
			cmp.Compare(a.APIVersion, b.APIVersion),
			cmp.Compare(a.Subresource, b.Subresource),
		)
	})
	return out, nil
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// unchanged says that what a client sent as managedFields is nothing, or what it read.
func unchanged(have, sent []metav1.ManagedFieldsEntry) bool {
	if sent == nil {
		return true
	}
	return slices.EqualFunc(have, sent, func(a, b metav1.ManagedFieldsEntry) bool {
		return sameButTime(a, b) && seconds(a.Time) == seconds(b.Time)
	})
}

// EqualButTimes says that two lists give the same fields to the same managers.
func EqualButTimes(a, b []metav1.ManagedFieldsEntry) bool { return slices.EqualFunc(a, b, sameButTime) }

func sameButTime(a, b metav1.ManagedFieldsEntry) bool {
	return sameManager(a, b) && a.FieldsType == b.FieldsType &&
		(a.FieldsV1 == nil) == (b.FieldsV1 == nil) &&
		(a.FieldsV1 == nil || bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes()))
}
