// Package container runs sandboxes and the containers in them, through libcontainer, without Kubernetes words.
//
// A sandbox is a set of namespaces (network, IPC, UTS, optionally PID) held by one keeper process, see runtime/keeper.
// A container is one process tree in a root filesystem of its own, inside a sandbox; the keeper is its parent (subreaper),
// copies its output to a log file and keeps its exit code. Keepers outlive the daemon: [Open] finds what is running from
// disk and from the keepers' sockets, and nothing is restarted.
//
// # State on disk
//
//	<StateDir>/sandboxes/<id>/sandbox.json             SandboxSpec and what became of it   (survives a reboot)
//	<StateDir>/sandboxes/<id>/containers/<cid>.json    ContainerSpec, status, exit code
//	<RunDir>/sandboxes/<id>/keeper.sock                 control socket                      (gone after a reboot)
//	<RunDir>/sandboxes/<id>/netns                       the network namespace, bind-mounted
//	<RunDir>/libcontainer/<cid>/                        libcontainer's own state
//
// Files are written by rename, so a power cut leaves the old or the new one; a damaged one is set aside with the suffix
// .damaged and the sandbox is cleaned up.
//
// # States
//
//	sandbox:    Ready ──keeper gone, Stop──▶ Stopped ──Remove──▶ (gone)
//	container:  Created ──▶ Running ──▶ Exited ──Remove──▶ (gone)
package container
