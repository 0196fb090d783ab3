package store

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"codeberg.org/skiff/skiff/server/api"
)

// Snapshot is the state of every kind at one revision. Immutable; safe for concurrent use; costs nothing to hold
// for a while.
type Snapshot struct {
	rev    int64
	layout *layout
	tables []*table // by layout.slot
}

// layout says which kinds there are, and which etcd keys are theirs. Immutable.
type layout struct {
	slot     map[*api.Kind]int
	byPrefix map[string]int
}

func newLayout(kinds []*api.Kind) *layout {
	l := &layout{slot: map[*api.Kind]int{}, byPrefix: map[string]int{}}
	for i, k := range kinds {
		l.slot[k] = i
		l.byPrefix[k.Prefix] = i
	}
	return l
}

func (l *layout) has(k *api.Kind) bool {
	_, ok := l.slot[k]
	return ok
}

// kinds in the order of their slots.
func (l *layout) kinds() []*api.Kind {
	return slices.SortedFunc(maps.Keys(l.slot), func(a, b *api.Kind) int { return l.slot[a] - l.slot[b] })
}

// locate finds which kind an etcd key belongs to, and the object's key below the kind's prefix.
func (l *layout) locate(kinds []*table, etcdKey string) (slot int, key string, ok bool) {
	last := strings.LastIndexByte(etcdKey, '/')
	if last <= 0 {
		return 0, "", false
	}
	if slot, ok = l.byPrefix[etcdKey[:last]]; ok && !kinds[slot].kind.Namespaced {
		return slot, etcdKey[last+1:], true
	}
	second := strings.LastIndexByte(etcdKey[:last], '/')
	if second <= 0 {
		return 0, "", false
	}
	if slot, ok = l.byPrefix[etcdKey[:second]]; ok && kinds[slot].kind.Namespaced {
		return slot, etcdKey[second+1:], true
	}
	return 0, "", false
}

// Revision of the snapshot: etcd's.
func (s *Snapshot) Revision() int64 { return s.rev }

// Get returns the object or nil.
func (s *Snapshot) Get(k *api.Kind, namespace, name string) api.Object {
	t := s.table(k)
	if t == nil {
		return nil
	}
	obj, _ := t.objects.Get(k.Key(namespace, name))
	return obj
}

// Count of the objects in namespace ("" is all of them).
func (s *Snapshot) Count(k *api.Kind, namespace string) int {
	t := s.table(k)
	if t == nil {
		return 0
	}
	if namespace == "" || t.counts == nil {
		return t.objects.Len()
	}
	n, _ := t.counts.Get(namespace)
	return n
}

// List yields the objects of a namespace ("": all), in key order, starting after the key `after` ("": from the start;
// a key is Kind.Key(namespace, name)).
func (s *Snapshot) List(k *api.Kind, namespace, after string) iter.Seq[api.Object] {
	return func(yield func(api.Object) bool) {
		if t := s.table(k); t != nil {
			t.ascend(namespace, after, func(_ string, obj api.Object) bool { return yield(obj) })
		}
	}
}

// ByIndex yields the objects that the named index of the kind has under value, in key order.
func (s *Snapshot) ByIndex(k *api.Kind, index, value string) iter.Seq[api.Object] {
	return func(yield func(api.Object) bool) {
		if t := s.table(k); t != nil {
			t.byIndex(index, value, yield)
		}
	}
}

func (s *Snapshot) table(k *api.Kind) *table {
	if slot, ok := s.layout.slot[k]; ok {
		return s.tables[slot]
	}
	if k != nil && k.Convert != nil {
		// A request that began with a definition which has been replaced meanwhile finds the same objects.
		if slot, ok := s.layout.byPrefix[k.Prefix]; ok {
			return s.tables[slot]
		}
	}
	return nil
}

// with returns a snapshot in which the tables of changed replace those in the same slots.
func (s *Snapshot) with(rev int64, changed map[int]*table) *Snapshot {
	next := &Snapshot{rev: rev, layout: s.layout, tables: s.tables}
	if len(changed) > 0 {
		next.tables = slices.Clone(s.tables)
		for slot, t := range changed {
			next.tables[slot] = t
		}
	}
	return next
}
