// Package volume sets up the directories that pods mount, keeps them current, and takes them down.
//
//	<Dir>/<uid>/volumes/<name>                  emptyDir on disk or as a tmpfs, image volumes
//	<Dir>/<uid>/subpaths/<container>/<n>        subPath mounts, bound once their path was resolved inside the volume
//	<Memory>/<uid>/volumes/<name>               configMap, secret, downwardAPI, projected: never on disk
//	<Memory>/<uid>/shm                          the pod's /dev/shm
//
// Files made from API objects are written as one: a new directory, then one rename of the symlink ..data, so a reader sees
// all of the old or all of the new. A path from outside (an item's path, a subPath, a symlink inside a volume) never
// leads out of its volume: the kernel resolves it beneath the volume's root (openat2), we do not.
//
// SetUp and TearDown are idempotent and need no saved state: what is mounted is read from the kernel. No goroutines.
//
// A new kind of volume is one line in sources (source.go) and one file.
package volume
