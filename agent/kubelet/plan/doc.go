// Package plan decides what a node does next for one pod. [Decide] is pure: it knows no clock, client, logger, goroutine
// or context. It is given the pod that is wanted, what is observed of its sandbox and containers, and the time; it returns
// a [Plan]: steps that may all be begun now, the reasons to show for what waits, and when to look again.
//
// # Life of a pod here
//
//	                    ┌────────── sandbox lost ───────────┐
//	                    ▼                                   │
//	set-up volumes ┐                                        │
//	create sandbox ┼─▶ init containers, in order ─▶ containers, in order ─▶ running ─▶ ended ─▶ (deleted)
//	pull images    ┘        sidecars stay                restarts with back-off
//
// A pod has ended when it was deleted, evicted, rejected, ran past its deadline, or when no container of it will run
// again. Then containers are killed (sidecars last, in reverse), the sandbox is stopped, volumes are taken down, and, if
// it was deleted, the object goes.
//
// Invariant: applying a plan and deciding again gives an empty list of steps (laws_test.go plays this to the end).
package plan
