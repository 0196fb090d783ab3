package api

import (
	"fmt"
	"reflect"
	"slices"
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
	if err := c.free(k); err != nil {
		return err
	}
	c.add(k)
	return nil
}

// Replace puts a kind in the place of another, at once: no request finds neither.
func (c *Catalogue) Replace(old, k *Kind) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(old)
	if err := c.free(k); err != nil {
		c.add(old)
		return err
	}
	c.add(k)
	return nil
}

// free says whether the names of a kind are not taken.
func (c *Catalogue) free(k *Kind) error {
	for _, v := range k.Versions {
		gv := schema.GroupVersion{Group: v.Group, Version: v.Version}
		if _, taken := c.byGVR[gv.WithResource(k.Plural)]; taken {
			return fmt.Errorf("kind %s: resource %s is already in the catalogue", k.Kind, gv.WithResource(k.Plural))
		}
		if _, taken := c.byGVK[gv.WithKind(k.Kind)]; taken && k.Convert != nil {
			return fmt.Errorf("kind %s: %s is already in the catalogue", k.Kind, gv.WithKind(k.Kind))
		}
	}
	return nil
}

func (c *Catalogue) add(k *Kind) {
	for i, v := range k.Versions {
		gvr := schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: k.Plural}
		if !v.Unserved {
			c.byGVR[gvr] = served{k, i}
		}
		c.byGVK[gvr.GroupVersion().WithKind(k.Kind)] = served{k, i}
	}
	// Custom kinds share one Go type (unstructured), by which nothing is found.
	t := reflect.TypeOf(k.Hub().New())
	if _, taken := c.byType[t]; !taken && k.Convert == nil {
		c.byType[t] = k
	}
	c.kinds = append(c.kinds, k)
}

// Remove takes a kind out again.
func (c *Catalogue) Remove(k *Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(k)
}

func (c *Catalogue) remove(k *Kind) {
	for i, have := range c.kinds {
		if have == k {
			c.kinds = append(c.kinds[:i:i], c.kinds[i+1:]...)
			break
		}
	}
	for gvr, s := range c.byGVR {
		if s.kind == k {
			delete(c.byGVR, gvr)
		}
	}
	for gvk, s := range c.byGVK {
		if s.kind == k {
			delete(c.byGVK, gvk)
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

// Published returns the kinds that discovery and OpenAPI show.
func (c *Catalogue) Published() []*Kind {
	return slices.DeleteFunc(c.Kinds(), func(k *Kind) bool { return k.Unpublished })
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
