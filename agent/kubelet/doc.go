// Package kubelet is the node: it runs the pods that the API, files on disk, or (without a server) its own checkpoint ask
// for, and says what became of them.
//
// # Flow
//
//	API watch ─┐                                     ┌─▶ runtime, images, network, volumes
//	files     ─┼─▶ pods ─▶ one worker a pod ─▶ plan ─┤
//	checkpoint ┘            ▲                        └─▶ status ─▶ API
//	                        └── runtime events, probe results, changed objects, deadlines
//
// A [worker] observes one pod, lets plan.Decide decide, begins what the plan names as tasks (goroutines, one a step, ended
// when the plan no longer names them) and reports the status. It sleeps until something happens: nothing here polls a pod.
//
// # On disk
//
//	<Data>/agent/pods/<uid>/pod.json         checkpoint of the pod and its last status
//	<Data>/agent/pods/<uid>/etc-hosts        mounted into the containers; resolv.conf and hostname beside it
//	<Data>/agent/pods/<uid>/containers/…     termination messages
//	<Data>/agent/pods/<uid>/volumes/…        see package volume
//	<Data>/agent/objects/…                   see package objects
//	<Run>/pods/<uid>/…                       volumes in memory
//	<Log>/pods/<ns>_<pod>_<uid>/<container>/<attempt>.log
//	<Log>/containers/<pod>_<ns>_<container>-<id>.log
//
// # Invariants
//
// A container that runs is never restarted because the daemon was: restart counts, back-off and images are read from the
// labels of what runs. Nothing is removed before the sources of pods have all been heard. A pod's object is deleted only
// when its containers have ended, its volumes are down and its last status is known to the server.
//
// Goroutines: those of Run, one a pod, one a task, one a probe, one a followed object. All end with Run.
package kubelet
