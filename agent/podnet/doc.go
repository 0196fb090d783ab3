// Package podnet gives pods their network: a bridge on each node, one veth pair and one address per family for each pod,
// routes to the pods of other nodes through a vxlan device, and the rules that let pods out of the cluster.
//
//	pod netns                 node netns
//	┌────────────────┐        ┌───────────────────────────────────────────────────────────────┐
//	│ eth0 ──────────┼─ veth ─┤ skiff0 10.42.0.1/24          skiff.vxlan (made with the first  │
//	│ 10.42.0.7/32   │        │  routes: 10.42.0.0/24 here,   other node)                       │
//	│ default via    │        │          service CIDRs here   10.42.1.0/24 via 10.42.1.0 onlink │── UDP 8472 ── other nodes
//	│  10.42.0.1     │        │          (to be rewritten)    neigh 10.42.1.0 → MAC, fdb MAC → IP│
//	└────────────────┘        └───────────────────────────────────────────────────────────────┘
//
// A pod's own address has no neighbours (/32, /128): everything it sends goes to the node, which routes it, also to a pod
// beside it. So connection tracking sees both directions of every connection, Services and policies hold between pods
// of one node, and br_netfilter is not needed (nor in the way: ports are in hairpin mode for it). ICMP redirects, which would undo this, are turned off.
//
// A pod's MAC is made of its address, and the bridge's and the vxlan device's of the node's name, so no neighbour entry
// anywhere turns stale when an address is used again or a node comes back.
//
// Invariants: an address is never given to two ids at the same time, also across restarts; a freed address is given out
// again as late as possible; Setup and Attach may be called again at any time and then change nothing that is right.
// Nothing is read from an earlier run but the address files; CleanUp needs no state at all.
//
// Goroutines: Run is one loop; nothing else runs by itself. Files:
//
//	<StateDir>/addresses/<ip>   the id that holds it. Made with O_EXCL. Empty after a crash in between: free for Reconcile
//
// podnet must never touch a link, route or rule that is not its own: its links are the bridge, the vxlan device, and the
// veths on the bridge; its chains begin with SKIFF-NET-.
package podnet
