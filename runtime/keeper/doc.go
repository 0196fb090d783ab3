// Package keeper is the small process that holds a sandbox: one a sandbox, outliving the daemon, written in C.
//
// The executable becomes a keeper when it is started with _SKIFF_KEEPER (the sandbox's id) in its environment: a constructor takes over
// before the Go runtime starts, so a keeper costs a few hundred kilobytes of private memory instead of several megabytes.
// This package holds that C code and, in Go, the daemon's side: [Spawn], [Dial], [Client], [Attach].
//
// A keeper
//   - makes the sandbox's network, IPC and UTS namespaces, and with a shared PID namespace its process 1; all of them inside a user
//     namespace where one is wanted, which the keeper itself does not join;
//   - is the subreaper of the containers: it starts the short-lived creator (runtime/reexec), which makes a container with
//     libcontainer and ends, whereupon the container's first process becomes the keeper's child;
//   - copies the containers' output into their log files (CRI format) and to attached clients, and input to containers;
//   - writes every exit to <run dir>/exit.<container> ("code signal seconds.nanoseconds") before it tells anyone.
//
// It waits in epoll without timers: an idle keeper never wakes up. It never blocks on a client, on the daemon, or on a full
// disk, and never exits while a container runs. The daemon ends it with SIGKILL, when it has killed what runs.
//
// # Protocol
//
// keeper.sock is SOCK_SEQPACKET; each message is a list of strings, each ended by NUL. A request starts with a number of
// the daemon's choice and a verb; its answer repeats the number. Fields that a side does not know are ignored.
//
//	n HELLO                                        n OK protocol pid pid1
//	n WATCH                                        n ITEM … for each container, then n OK; afterwards events
//	n START id flags log logmax killcgroup         n OK (as ITEM) | n ERR text   with fds: executable, creator's request
//	n KILL id signal                               n OK | n ERR text
//	n REOPEN id                                    n OK | n ERR text             opens the log file anew
//	n FORGET id                                    n OK | n ERR text             of an exited container
//	n ATTACH id stdin                              n OK | n ERR text             then frames, see below
//	                                               0 EXIT id state pid code signal started finished
//	                                               0 RUN as EXIT, 0 FAIL id text  the end of a START whose asker is gone
//	                                               0 LOGFULL id                  the log file has reached logmax
//
// After ATTACH a message is a frame: one letter, then data. To the client: o output, e error output, x the end: the container
// exited, or the client's input ended and the container's stays open (no StdinOnce). From it: i input, c end of input,
// r width and height as two little-endian 16-bit numbers.
package keeper
