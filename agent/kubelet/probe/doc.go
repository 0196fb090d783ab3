// Package probe asks containers how they are: startup, readiness and liveness, by exec, HTTP, TCP and gRPC. It also runs
// the actions of lifecycle hooks, which are of the same kinds.
//
// Goroutines: one for each probe of each running container, waiting on a timer; [Manager.Forget] and the end of Run's
// context end them. A result that changes anything calls Config.Changed; nothing else is told.
//
//	container runs ──▶ startup probe (if any) ──success──▶ Started ──▶ readiness and liveness probes
//	                      │ too many failures                            │ liveness: too many failures
//	                      ▼                                              ▼
//	                    Failed: the worker kills the container          Failed
package probe
