package match

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
)

// Cache keeps what was made of configuration objects, each until it changes. The zero value is ready.
type Cache[T any] struct {
	mu      sync.Mutex
	entries map[types.UID]*entry[T]
}

type entry[T any] struct {
	version string
	value   func() T
}

// spare entries beside those that are in use: configuration that is gone.
const spare = 32

// Get returns what make makes of obj, which is called once a resourceVersion and without any lock held but obj's own.
// live is how many such objects there are now.
func (c *Cache[T]) Get(obj api.Object, live int, make func() T) T {
	c.mu.Lock()
	e := c.entries[obj.GetUID()]
	if e == nil || e.version != obj.GetResourceVersion() {
		if len(c.entries) > live+spare || c.entries == nil {
			c.entries = map[types.UID]*entry[T]{}
		}
		e = &entry[T]{obj.GetResourceVersion(), sync.OnceValue(make)}
		c.entries[obj.GetUID()] = e
	}
	c.mu.Unlock()
	return e.value()
}
