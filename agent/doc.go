// Package agent is the node put together: image store, container runtime, pod network, service proxy, cluster DNS and kubelet.
//
//	agent.go     New wires, Run starts everything and ends it; the pods go on
//	config.go    the flags
//	cleanup.go   stops every pod of the node and takes everything out of the kernel again
//
// An agent that belongs to a cluster is given a [Membership]: how to reach the API, and what the cluster looks like. Without one it
// stands alone and runs pods from files (static pods).
package agent
