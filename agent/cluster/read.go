package cluster

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Service returns a Service (nil if there is none) and the EndpointSlices that name it, in order of their names.
func (c *Cache) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	of := c.slices[key]
	if len(of) == 0 {
		return c.services[key], nil
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(of))
	for _, s := range of {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return c.services[key], out
}

// ServiceKeys names all Services.
func (c *Cache) ServiceKeys() []types.NamespacedName {
	c.mu.RLock()
	defer c.mu.RUnlock()
	keys := make([]types.NamespacedName, 0, len(c.services))
	for key := range c.services {
		keys = append(keys, key)
	}
	return keys
}

// Nodes returns all nodes.
func (c *Cache) Nodes() []*corev1.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	nodes := make([]*corev1.Node, 0, len(c.nodes))
	for _, n := range c.nodes {
		nodes = append(nodes, n)
	}
	return nodes
}

// Node returns one node, nil if there is none.
func (c *Cache) Node(name string) *corev1.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes[name]
}

// HasNamespace says whether there is such a namespace.
func (c *Cache) HasNamespace(name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.namespaces[name] != nil
}

// OnServices calls changed with a Service's name after each change of it or of its slices, until stop is called.
func (c *Cache) OnServices(changed func(types.NamespacedName)) (stop func()) {
	return c.onServices.add(&c.mu, changed)
}

// OnNodes calls changed after each change of a node, until stop is called.
func (c *Cache) OnNodes(changed func()) (stop func()) { return c.onNodes.add(&c.mu, changed) }
