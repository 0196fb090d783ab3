// Package server is the control plane put together: embedded etcd, API server, controllers and scheduler in one process,
// with one copy of every object.
//
//	server.go     New wires, Run starts everything and ends it in order
//	config.go     the flags
//	bootstrap.go  the objects that a cluster begins with
//	local.go      HTTP without a network, for the agent in the same process
//
// The order of starting: store → API server → bootstrap → controllers and scheduler. If etcd has no quorum or the disk is
// slow the process stays, reads are answered from the cache, and writes fail with a status that says "retry".
package server
