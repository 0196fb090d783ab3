package cluster

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// subscribers are called in the order they came, by whoever changed the cache.
type subscribers[F any] struct{ list []*F }

func (s *subscribers[F]) add(mu *sync.RWMutex, f F) (stop func()) {
	mu.Lock()
	defer mu.Unlock()
	s.list = append(s.list[:len(s.list):len(s.list)], &f)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		var rest []*F
		for _, other := range s.list {
			if other != &f {
				rest = append(rest, other)
			}
		}
		s.list = rest
	}
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// trim drops what nobody on a node reads.
func trim(o metav1.Object) {
	o.SetManagedFields(nil)
	if a := o.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
		delete(a, corev1.LastAppliedConfigAnnotation)
	}
}

// tellServices runs change under the lock and then tells of the Services that it names.
func (c *Cache) tellServices(change func() []types.NamespacedName) {
	c.mu.Lock()
	keys := change()
	subs := c.onServices.list
	c.mu.Unlock()
	for _, key := range keys {
		for _, f := range subs {
			(*f)(key)
		}
	}
}

func (c *Cache) setService(s *corev1.Service) {
	trim(s)
	c.tellServices(func() []types.NamespacedName {
		c.services[keyOf(s)] = s
		return []types.NamespacedName{keyOf(s)}
	})
}

func (c *Cache) deleteService(key types.NamespacedName) {
	c.tellServices(func() []types.NamespacedName {
		delete(c.services, key)
		return []types.NamespacedName{key}
	})
}

func (c *Cache) setSlice(s *discoveryv1.EndpointSlice) {
	trim(s)
	key := keyOf(s)
	owner := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	c.tellServices(func() (changed []types.NamespacedName) {
		if old, ok := c.ownerOf[key]; ok && old != owner {
			c.dropSlice(key)
			changed = append(changed, old)
		}
		if owner.Name == "" {
			return changed
		}
		if c.slices[owner] == nil {
			c.slices[owner] = map[string]*discoveryv1.EndpointSlice{}
		}
		c.slices[owner][s.Name], c.ownerOf[key] = s, owner
		return append(changed, owner)
	})
}

func (c *Cache) deleteSlice(key types.NamespacedName) {
	c.tellServices(func() []types.NamespacedName {
		owner, ok := c.ownerOf[key]
		if !ok {
			return nil
		}
		c.dropSlice(key)
		return []types.NamespacedName{owner}
	})
}

func (c *Cache) dropSlice(key types.NamespacedName) {
	owner := c.ownerOf[key]
	delete(c.ownerOf, key)
	delete(c.slices[owner], key.Name)
	if len(c.slices[owner]) == 0 {
		delete(c.slices, owner)
	}
}

func (c *Cache) tellNodes(change func()) {
	c.mu.Lock()
	change()
	subs := c.onNodes.list
	c.mu.Unlock()
	for _, f := range subs {
		(*f)()
	}
}

func (c *Cache) setNode(n *corev1.Node) {
	trim(n)
	n.Status.Images = nil
	c.tellNodes(func() { c.nodes[n.Name] = n })
}

func (c *Cache) deleteNode(key types.NamespacedName) {
	c.tellNodes(func() { delete(c.nodes, key.Name) })
}

func (c *Cache) setNamespace(n *corev1.Namespace) {
	trim(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces[n.Name] = n
}

func (c *Cache) deleteNamespace(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.namespaces, key.Name)
}
