// Package netproxy makes Services work on a node: it turns Services, EndpointSlices and host ports into iptables rules.
//
// observe: a subscriber of the Source notes which Services changed. decide: render makes the rules of one Service as a
// value, without looking at anything else; a ruleset puts all of them together with the chains that lead to them. apply:
// internal/iptables writes the chains that differ, in one transaction a table.
//
// How a packet finds its Service (nat table; the filter table never changes):
//
//	PREROUTING, OUTPUT → SKIFF-SVC-ENTRY ─ by address prefix ─ SKIFF-SVC-IP-0a2b3000-20 ─ … ─ one address and port
//	                         └ local address ─ SKIFF-SVC-LOCAL ─ by port range ─ one node port or host port
//
//	SKIFF-SVC-C-<hash>  the Service's endpoints, picked at random: connections to the cluster IP
//	SKIFF-SVC-I-<hash>  the same with internalTrafficPolicy Local: this node's endpoints
//	SKIFF-SVC-X-<hash>  what comes from outside: node port, external IPs, load balancer IPs
//	SKIFF-SVC-F-<hash>  loadBalancerSourceRanges, before X
//	SKIFF-SVC-E-<hash>  one endpoint, where session affinity must remember it
//	SKIFF-SVC-H-<hash>  one host port
//	POSTROUTING → SKIFF-SVC-POST      masquerades what is marked, and a pod that reached itself (SKIFF-SVC-SELF-…)
//	INPUT, FORWARD, OUTPUT → SKIFF-SVC-FILTER  refuses what was marked for want of an endpoint
//
// The chains by prefix hold at most sixteen rules each, so the way to a Service is logarithmic in their number, and a
// changed endpoint touches only its Service's own chain. A Service without endpoints is a rule that marks the packet; so
// it, too, touches the nat table alone.
//
// Invariants: the rules after any sequence of changes are those rendered from scratch; applying twice writes nothing;
// an object that makes no sense is left out and harms no other. Run is one loop and one small HTTP server for each
// healthCheckNodePort; it leaves the rules in the kernel when it ends, for pods outlive skiff. CleanUp needs no state.
// The package must never touch a rule that is not in its chains, nor import anything of the node around it.
package netproxy
