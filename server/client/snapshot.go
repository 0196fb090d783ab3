package client

import (
	"iter"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Snapshot is the state of all kinds at one revision. The typed readers below work on it.
type Snapshot struct {
	*store.Snapshot
	catalogue *api.Catalogue
}

// SnapshotOf pairs a store snapshot with the catalogue, for those that have no Client (the scheduler's tests).
func SnapshotOf(s *store.Snapshot, c *api.Catalogue) Snapshot { return Snapshot{s, c} }

// Catalogue of the kinds that the snapshot holds.
func (s Snapshot) Catalogue() *api.Catalogue { return s.catalogue }

// Get returns the object of T's kind, e.g. Get[*corev1.Pod](snap, "default", "web"); ok is false if there is none.
func Get[T api.Object](s Snapshot, namespace, name string) (obj T, ok bool) {
	kind := kindFor[T](s)
	if kind == nil {
		return obj, false
	}
	obj, ok = s.Snapshot.Get(kind, namespace, name).(T)
	return obj, ok
}

// List yields the objects of T's kind in a namespace ("": all), in key order.
func List[T api.Object](s Snapshot, namespace string) iter.Seq[T] {
	return typed[T](s, func(k *api.Kind) iter.Seq[api.Object] { return s.Snapshot.List(k, namespace, "") })
}

// ByIndex yields the objects of T's kind that an index of the kind has under value.
func ByIndex[T api.Object](s Snapshot, index, value string) iter.Seq[T] {
	return typed[T](s, func(k *api.Kind) iter.Seq[api.Object] { return s.Snapshot.ByIndex(k, index, value) })
}

func kindFor[T api.Object](s Snapshot) *api.Kind {
	var zero T
	return s.catalogue.ByObject(zero)
}

func typed[T api.Object](s Snapshot, objects func(*api.Kind) iter.Seq[api.Object]) iter.Seq[T] {
	return func(yield func(T) bool) {
		kind := kindFor[T](s)
		if kind == nil {
			return
		}
		for obj := range objects(kind) {
			if t, ok := obj.(T); ok && !yield(t) {
				return
			}
		}
	}
}
