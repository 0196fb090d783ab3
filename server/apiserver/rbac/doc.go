// Package rbac decides by Roles, ClusterRoles and their bindings, and holds the roles that every cluster begins with.
//
// The compiled form of the four kinds is kept until one of them changes: objects from the cache are immutable and shared,
// so comparing pointers tells. Aggregated ClusterRoles are resolved here, live, whether or not their rules were written.
// It starts no goroutine.
//
// bootstrap.txt is the policy of a new cluster, one role a paragraph; see bootstrap.go for how it reads.
package rbac
