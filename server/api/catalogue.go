package api

import (
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Catalogue is the set of kinds a server knows: the built-in table, and what CustomResourceDefinitions add at run
// time. It is safe for concurrent use.
type Catalogue struct {
	mu     sync.RWMutex
	kinds  []*Kind
	byType map[reflect.Type]*Kind
	byGVR  map[schema.GroupVersionResource]served
	byGVK  map[schema.GroupVersionKind]served
}

type served struct {
	kind    *Kind
	version int
}

// NewCatalogue makes a catalogue of the given kinds, usually [BuiltIn].
func NewCatalogue(kinds []*Kind) (*Catalogue, error) {
	c := &Catalogue{
		byType: map[reflect.Type]*Kind{},
		byGVR:  map[schema.GroupVersionResource]served{},
		byGVK:  map[schema.GroupVersionKind]served{},
	}
	for _, k := range kinds {
		if err := c.Add(k); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Add puts a kind into the catalogue; a name that is taken is an error.
func (c *Catalogue) Add(k *Kind) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, v := range k.Versions {
		gvr := schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: k.Plural}
		if _, taken := c.byGVR[gvr]; taken {
			return fmt.Errorf("kind %s: resource %s is already in the catalogue", k.Kind, gvr)
		}
		c.byGVR[gvr] = served{k, i}
		c.byGVK[gvr.GroupVersion().WithKind(k.Kind)] = served{k, i}
	}
	// Custom kinds share one Go type (unstructured), so only the first holder of a type is found by it.
	t := reflect.TypeOf(k.Hub().New())
	if _, taken := c.byType[t]; !taken {
		c.byType[t] = k
	}
	c.kinds = append(c.kinds, k)
	return nil
}

// Remove takes a kind out again.
func (c *Catalogue) Remove(k *Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, have := range c.kinds {
		if have == k {
			c.kinds = append(c.kinds[:i:i], c.kinds[i+1:]...)
			break
		}
	}
	for gvr, s := range c.byGVR {
		if s.kind == k {
			delete(c.byGVR, gvr)
			delete(c.byGVK, gvr.GroupVersion().WithKind(k.Kind))
		}
	}
	for t, have := range c.byType {
		if have == k {
			delete(c.byType, t)
		}
	}
}

// Kinds returns all kinds in the order in which they were added.
func (c *Catalogue) Kinds() []*Kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return append([]*Kind(nil), c.kinds...)
}

// ByResource finds the kind that serves a resource, and which of its versions does. Nil if none does.
func (c *Catalogue) ByResource(gvr schema.GroupVersionResource) (*Kind, *Version) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s, ok := c.byGVR[gvr]; ok {
		return s.kind, &s.kind.Versions[s.version]
	}
	return nil, nil
}

// ByKind finds the kind that has this group, version and kind. Nil if none has.
func (c *Catalogue) ByKind(gvk schema.GroupVersionKind) (*Kind, *Version) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s, ok := c.byGVK[gvk]; ok {
		return s.kind, &s.kind.Versions[s.version]
	}
	return nil, nil
}

// ByObject finds the kind of a typed hub object. It is not for custom (unstructured) objects: use ByKind for those.
func (c *Catalogue) ByObject(obj Object) *Kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byType[reflect.TypeOf(obj)]
}
