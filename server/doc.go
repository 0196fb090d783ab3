// Package server is the control plane put together: embedded etcd, API server, controllers and scheduler in one process,
// with one copy of every object.
//
//	server.go     New wires, Run starts everything and ends it in order
//	config.go     the flags
//	bootstrap.go  the objects that a cluster begins with
//	wire.go       registry, API server and loops put together
//	joining.go    how nodes come into the cluster, and how the server reaches them
//
// The order of starting: store → API server → bootstrap → controllers and scheduler. If etcd has no quorum or the disk is
// slow the process stays, reads are answered from the cache, and writes fail with a status that says "retry".
package server
