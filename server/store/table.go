package store

import (
	"strings"

	"github.com/tidwall/btree"

	"codeberg.org/skiff/skiff/server/api"
)

// OwnerIndex is an index that every kind has: the uids of its owners, for the garbage collector.
const OwnerIndex = "metadata.ownerReferences.uid"

// degree of the trees: small nodes make the copy of a path cheap.
const degree = 16

// table holds the objects of one kind in persistent trees. Published tables are never changed: fork one, change the
// fork and publish that. A fork shares all nodes with its origin until they are written.
type table struct {
	kind    *api.Kind
	objects *btree.Map[string, api.Object] // by Kind.Key
	// indexes, parallel to defs, hold value + "\x00" + key.
	indexes []*btree.Map[string, struct{}]
	defs    []api.Index
	// counts of objects by namespace; nil for a kind without namespaces.
	counts *btree.Map[string, int]
	// damaged are the keys whose values cannot be read, and why; nil while there is none.
	damaged *btree.Map[string, error]
}

func newTable(k *api.Kind) *table {
	t := &table{kind: k, objects: btree.NewMap[string, api.Object](degree), defs: indexesOf(k)}
	for range t.defs {
		t.indexes = append(t.indexes, btree.NewMap[string, struct{}](degree))
	}
	if k.Namespaced {
		t.counts = btree.NewMap[string, int](degree)
	}
	return t
}

// indexesOf lists the kind's own indexes and the one that all have.
func indexesOf(k *api.Kind) []api.Index {
	return append(k.Indexes[:len(k.Indexes):len(k.Indexes)], api.Index{Name: OwnerIndex, Values: owners})
}

func owners(obj api.Object) []string {
	refs := obj.GetOwnerReferences()
	if len(refs) == 0 {
		return nil
	}
	uids := make([]string, len(refs))
	for i := range refs {
		uids[i] = string(refs[i].UID)
	}
	return uids
}

// fork returns a table that can be changed without the origin noticing.
func (t *table) fork() *table {
	f := &table{kind: t.kind, defs: t.defs, objects: forkMap(t.objects)}
	f.indexes = make([]*btree.Map[string, struct{}], len(t.indexes))
	for i := range t.indexes {
		f.indexes[i] = forkMap(t.indexes[i])
	}
	if t.counts != nil {
		f.counts = forkMap(t.counts)
	}
	if t.damaged != nil {
		f.damaged = forkMap(t.damaged)
	}
	return f
}

// forkMap copies through a copy of the header, because IsoCopy writes to its receiver, and published maps are read
// (and forked) by many goroutines at once.
func forkMap[K ~string, V any](m *btree.Map[K, V]) *btree.Map[K, V] {
	header := *m
	return header.IsoCopy()
}

// set puts obj under key, and returns what was there.
func (t *table) set(key string, obj api.Object) api.Object {
	old, _ := t.objects.Set(key, obj)
	t.reindex(key, old, obj)
	if old == nil {
		t.count(obj.GetNamespace(), 1)
	}
	return old
}

// remove takes key out, and returns what was there.
func (t *table) remove(key string) api.Object {
	old, ok := t.objects.Delete(key)
	if !ok {
		return nil
	}
	t.reindex(key, old, nil)
	t.count(old.GetNamespace(), -1)
	return old
}

// setDamaged notes why the value of a key cannot be read; nil if it can, or is gone.
func (t *table) setDamaged(key string, why error) {
	switch {
	case why == nil && t.damaged == nil:
	case why == nil:
		t.damaged.Delete(key)
	default:
		if t.damaged == nil {
			t.damaged = btree.NewMap[string, error](degree)
		}
		t.damaged.Set(key, why)
	}
}

func (t *table) count(namespace string, by int) {
	if t.counts == nil {
		return
	}
	n, _ := t.counts.Get(namespace)
	if n += by; n == 0 {
		t.counts.Delete(namespace)
	} else {
		t.counts.Set(namespace, n)
	}
}

func (t *table) reindex(key string, old, obj api.Object) {
	for i, index := range t.defs {
		var before, after []string
		if old != nil {
			before = index.Values(old)
		}
		if obj != nil {
			after = index.Values(obj)
		}
		for _, v := range before {
			if !contains(after, v) {
				t.indexes[i].Delete(v + "\x00" + key)
			}
		}
		for _, v := range after {
			if !contains(before, v) {
				t.indexes[i].Set(v+"\x00"+key, struct{}{})
			}
		}
	}
}

func contains(values []string, v string) bool {
	for _, have := range values {
		if have == v {
			return true
		}
	}
	return false
}

// ascend calls yield for the objects of a namespace ("": all) after the key `after`, in key order.
func (t *table) ascend(namespace, after string, yield func(key string, obj api.Object) bool) {
	var prefix string
	if namespace != "" && t.kind.Namespaced {
		prefix = namespace + "/"
	}
	pivot := prefix
	if after != "" && after >= pivot {
		pivot = after + "\x00" // the smallest key larger than after
	}
	t.objects.Ascend(pivot, func(key string, obj api.Object) bool {
		return strings.HasPrefix(key, prefix) && yield(key, obj)
	})
}

// byIndex calls yield for the objects that index has under value, in key order.
func (t *table) byIndex(index, value string, yield func(api.Object) bool) {
	for i, ix := range t.defs {
		if ix.Name != index {
			continue
		}
		prefix := value + "\x00"
		t.indexes[i].Ascend(prefix, func(entry string, _ struct{}) bool {
			if !strings.HasPrefix(entry, prefix) {
				return false
			}
			obj, ok := t.objects.Get(entry[len(prefix):])
			return !ok || yield(obj)
		})
		return
	}
}
