// Package cluster is the node's one copy of what the pod network, the service proxy and cluster DNS need to know of the
// cluster: Services with their EndpointSlices, Nodes and Namespaces, fed by watches, without polling.
//
// The objects are shared by all who read them and must never be changed; managedFields and kubectl's copy of the manifest
// are dropped before they are kept. Whoever is told of a change reads the new state from the cache: it is already there.
//
// Goroutines: Run has one reflector for each of the four kinds, which call the subscribers; a subscriber must not block.
// Before the first lists are in (Synced) the cache is incomplete; when a server is away, it goes on with what it has.
package cluster
