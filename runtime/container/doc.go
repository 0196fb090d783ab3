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
//	<RunDir>/sandboxes/<id>/exit.<cid>                  the keeper's word on how a container ended
//	<RunDir>/sandboxes/<id>/sandbox.json                second copy, for when the first is found damaged while it runs
//	<RunDir>/sandboxes/<id>/netns                       the network namespace, bind-mounted
//	<RunDir>/sandboxes/<id>/userns                      the user namespace, likewise, of those that have one (users.go)
//	<RunDir>/sandboxes/<id>/shm/                        /dev/shm of its containers, a tmpfs of 64 MiB
//	<RunDir>/libcontainer/<cid>/                        libcontainer's own state
//
// The daemon may be killed between any two of these writes; step.go says what then holds.
//
// Files are written by rename, so a power cut leaves the old or the new one; a damaged one is set aside with the suffix
// .damaged and the sandbox is cleaned up. Cgroups: see cgroup.go.
//
// # Processes and goroutines
//
// A container start is two short-lived processes: the creator, which the keeper runs (runtime/reexec), and libcontainer's
// init, which becomes the container's first process. An exec is two as well: the executor, which the daemon runs, and
// libcontainer's init. All are started from Config.Executable. [Manager.Run] ends all goroutines: one a keeper, which reads
// its events, and short ones that clean up. No other package may write to these directories or cgroups, and this one must
// never kill by a pid that may have been used again: keepers are held by pidfd, containers are signalled by their parent,
// the keeper.
//
// # States
//
//	sandbox:    Ready ──keeper gone, Stop──▶ Stopped ──Remove──▶ (gone)
//	container:  Created ──▶ Running ──▶ Exited ──Remove──▶ (gone)
package container
