// Package join is a node's connection to its cluster:
//
//	identity.go  the node's certificates: from disk or by joining with a token, renewed at two thirds of their life
//	files.go     where they lie
//	request.go   the two requests of joining
//	rest.go      client-go configurations that follow renewals
//	balancer.go  the API servers' addresses, and a dialer that tries them
//	tunnel.go    the connections by which the servers reach this node
//	dial.go      what they may reach
//
// State on disk, all in one directory, each file 0600 and replaced by rename:
//
//	ca.crt                                 the cluster's authorities
//	kubelet-ca.crt                         the authority of serving.pem
//	client.pem, serving.pem, proxy.pem     certificate and key together, so that they always fit
//	node-password                          shown when joining again
//	cluster.json                           the cluster's settings and servers at the last join or change
//
// A node with good files needs no server to start: Open reads them, and only a node without asks. Certificates that have expired are renewed by their own key, which the
// server knows. Files that are damaged or of another cluster are replaced by joining again, but for the password: only this node has it.
//
// Goroutines: Identity.Run, Balancer.Follow and Tunnel.Run; each ends, with all it started, when its context does.
//
// The package never trusts a server whose authority does not have the hash in the token.
package join
