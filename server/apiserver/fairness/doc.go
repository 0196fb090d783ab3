// Package fairness decides which request runs now, which waits and which is turned away, as FlowSchema and
// PriorityLevelConfiguration objects (flowcontrol.apiserver.k8s.io) ask for: so that one client in a tight loop can
// neither starve the others nor the heartbeats of nodes.
//
// # Words
//
//	seat      the right to run one ordinary request; the server has Config.Seats of them
//	width     how many seats a request takes (a list of many objects takes several)
//	flow      the requests of one FlowSchema and one distinguisher (a user, or a namespace)
//	level     a share of the seats, with queues; every FlowSchema leads to one
//
// # The way of a request
//
//	Classify: first FlowSchema that matches ──▶ Class ──▶ Enter ──▶ Ticket ──▶ … served … ──▶ Ticket.Done
//	                                                       │ no seat free
//	                                                       └▶ shuffle sharding deals the flow a hand of queues, the
//	                                                          least busy of them takes the request; it waits its turn,
//	                                                          at most Config.Wait, else *Rejected
//
// # Fair dispatch
//
// Each queue has a clock of its own, in seat-seconds of service received (start-time fair queuing, Goyal, Vin and Cheng,
// SIGCOMM 1996). When seats are free, the waiting queue whose clock is furthest behind goes first. A dispatched request
// advances the clock by a guess of its cost at once, and by the difference to what it really took when it has ended. A
// queue that was empty starts at the level's clock: nobody saves up a right to a burst.
//
// # Lending and borrowing
//
// A level keeps at least its nominal seats without the lendable ones. The rest is divided anew in proportion to what the
// levels ask for, whenever a request would have to wait and the last division is reallocateEvery old. Nothing runs while
// nobody waits.
//
// # Goroutines
//
// Run is one: it follows the objects, keeps the mandatory ones and writes the condition Dangling. Requests run on their
// callers' goroutines. What is remembered is bounded by the configuration objects and by the requests in flight.
//
// # Files
//
//	fairness.go  the set of levels      match.go    FlowSchemas          level.go   seats and queues of one level
//	queue.go     fair order             shard.go    hands of queues      share.go   dividing the seats
//	width.go     what a request costs   keep.go     Run                  bootstrap.go  the objects of a new cluster
//	metrics.go   apiserver_flowcontrol_*                                 dump.go    /debug/api_priority_and_fairness/
package fairness
