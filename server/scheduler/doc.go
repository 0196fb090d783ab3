// Package scheduler decides on which node each pending pod runs, and binds it.
//
// # How it works
//
//	watch ─▶ cluster (nodes, placed pods, nominations)    one goroutine owns both, and decides
//	   └───▶ backlog (pods to place, in order)
//	             │ next
//	             ▼
//	          decide(cluster, pod) ── place ──▶ assume in cluster, bind beside   (event Scheduled)
//	             │
//	             └─ no ──▶ preempt?  condition PodScheduled=False, event FailedScheduling,
//	                       back to the backlog until something changes that could help
//
// decide is pure: it reads the cluster and returns a decision which prints itself. A rule ([rules]) says why a pod cannot
// be on a node; a score ([scores]) how well it would do there. Each is one file, and one line in the table of rules.go.
//
// Rules and their order, scores and their weights, and the reasons in messages are those of upstream's default profile,
// because users, dashboards and autoscalers read them.
//
// # Invariants
//
// A pod is in at most one of: the backlog; the cluster as assumed (being bound); the cluster as placed. The cluster never
// shows less used than the API does: an assumed pod counts from the decision on, and stops to count only when its binding
// failed or the pod is gone. Only pods of spec.schedulerName default-scheduler are placed; all pods count.
//
// # Goroutines
//
// Run owns cluster and backlog. Bindings, status writes and evictions run beside it, at most [maxWrites] at once.
package scheduler
