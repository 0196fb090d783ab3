// Package tunnel is the server's half of the tunnels by which it reaches nodes: each agent keeps a connection open, on
// which the server is the HTTP/2 client and dials from the node with CONNECT host:port.
//
// A node is who its client certificate says; a new tunnel of a node takes the place of its old one. What may be dialled
// is decided by the agent.
//
// Goroutines: each tunnel has its HTTP/2 connection's reader and one that waits for its end; each dialled connection has
// one that copies from the tunnel. All end with the tunnel, and all tunnels end when Run does.
//
// Invariant: a dialled connection supports deadlines like any net.Conn; one slow connection does not hold up another for
// longer than the tunnel's flow-control windows last.
package tunnel
