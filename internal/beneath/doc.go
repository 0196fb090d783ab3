// Package beneath works in directories whose contents somebody else may change at any instant: volumes, logs, whatever a container
// can write. Nothing here follows a path that was looked at a moment ago: a name is resolved by the kernel beneath an open
// descriptor (openat2 with RESOLVE_BENEATH), and what follows happens to the descriptor that came of it.
//
//	d, err := beneath.Open("/var/lib/skiff/agent/pods")       // a path that only root can change
//	v, err := d.At("uid/volumes/data", beneath.NoLinks)        // O_PATH: looking at it has no effect on what it is
//	err = unix.Mount("tmpfs", v.Path(), "tmpfs", 0, "")        // a path by which the kernel finds this very directory
//
// A [Place] is an O_PATH descriptor: opening one never blocks on a FIFO and never wakes a device. ReadFile and WriteFile open regular
// files only. Walk and RemoveAll stay on the mount they began on, and need few descriptors however deep a tree is.
//
// The standard library's os.Root does the same for plain files and is used where it is enough: it has no O_PATH descriptors,
// may block on a FIFO, and enters other mounts. Needs Linux 5.8, as the rest of the node. No goroutines, no state.
package beneath
