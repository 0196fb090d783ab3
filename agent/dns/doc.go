// Package dns answers cluster DNS on every node, from the node's own copy of Services and EndpointSlices, so a name costs
// no network hop and goes on working when the server or another node is away.
//
// It implements the Kubernetes DNS specification 1.1.0 for the cluster's domain: A, AAAA, SRV, CNAME (ExternalName), PTR,
// pods by address, and dns-version. Everything else it forwards to the node's own resolvers, with a small cache.
//
//	zone     records of Services, kept up to date one Service at a time; an answer is two map lookups
//	answer   a question → records, pure
//	forward  other names → upstream servers over UDP or TCP, one flight per question; EDNS only if the client used it and
//	         the server understands it
//	exchange one question to one server, which may lie, be silent, or answer more than fits
//	stub     domains that are asked of servers of their own
//	server   sockets, limits, truncation
//
// It listens on the cluster DNS address itself, which Run puts on the loopback device (scope host, so that nothing else
// ever chooses it as a source) and CleanUp takes away; netproxy leaves that address alone. Names below the cluster domain
// and addresses of the cluster's ranges are never forwarded, nor is anything forwarded to itself.
//
// Goroutines: one per socket, one per packet while it is answered (bounded), all of which Run waits for. Before the first
// lists are in, cluster names get SERVFAIL, which resolvers try again, never a false NXDOMAIN.
package dns
