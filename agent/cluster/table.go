package cluster

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// table is what a reflector of one kind writes into. It remembers only which version of which object is there, so that a
// new list tells just of what differs.
type table[T metav1.Object] struct {
	set    func(T)
	remove func(types.NamespacedName)

	versions map[types.NamespacedName]string
	listed   sync.Once
	first    func()
}

func newTable[T metav1.Object](set func(T), remove func(types.NamespacedName)) *table[T] {
	return &table[T]{set: set, remove: remove, versions: map[types.NamespacedName]string{}}
}

func (t *table[T]) onFirstList(f func()) { t.first = f }

// Add implements cache.ReflectorStore; the reflector calls it from one goroutine.
func (t *table[T]) Add(obj any) error { return t.Update(obj) }

// Update implements cache.ReflectorStore.
func (t *table[T]) Update(obj any) error {
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("got a %T from a watch of %T", obj, *new(T))
	}
	t.versions[keyOf(o)] = o.GetResourceVersion()
	t.set(o)
	return nil
}

// Delete implements cache.ReflectorStore.
func (t *table[T]) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("got a %T from a watch of %T", obj, *new(T))
	}
	delete(t.versions, keyOf(o))
	t.remove(keyOf(o))
	return nil
}

// Replace implements cache.ReflectorStore: the state is now exactly this list.
func (t *table[T]) Replace(list []any, _ string) error {
	old := t.versions
	t.versions = make(map[types.NamespacedName]string, len(list))
	for _, item := range list {
		o, ok := item.(T)
		if !ok {
			return fmt.Errorf("got a %T in a list of %T", item, *new(T))
		}
		key, version := keyOf(o), o.GetResourceVersion()
		t.versions[key] = version
		if before, was := old[key]; !was || before != version || version == "" {
			t.set(o)
		}
		delete(old, key)
	}
	for key := range old {
		t.remove(key)
	}
	t.listed.Do(t.first)
	return nil
}

// Resync implements cache.ReflectorStore.
func (t *table[T]) Resync() error { return nil }
