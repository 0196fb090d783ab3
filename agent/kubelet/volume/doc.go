// Package volume sets up the directories that pods mount, keeps them current, and takes them down.
//
//	<Dir>/<uid>/volumes/<name>                  emptyDir on disk or as a tmpfs; image volumes and local volumes, bound
//	<Dir>/<uid>/subpaths/<container>/<n>        subPath mounts, bound once their path was resolved inside the volume
//	<Memory>/<uid>/volumes/<name>               configMap, secret, downwardAPI, projected: on a tmpfs of the pod's own, never on disk
//	<Memory>/<uid>/shm                          the pod's /dev/shm
//
// Containers write into some of these and may exchange a directory for a link at any instant, so every operation below a volume is on a
// descriptor that cannot be led outside (package internal/beneath, os.Root); paths_test.go in the module's root holds that.
//
// Volumes made from API objects are read-only for containers. Their files are written as one: a new directory, then one rename of the
// symlink ..data, so a reader sees all of the old or all of the new. What they take of memory is bounded for each pod, and counted.
//
// A volume gets owner and mode when it is set up, before any container sees it, and never again. That it was set up is seen from what is
// there: a directory that appears by rename, a mount that appears last. So SetUp and TearDown are idempotent and need no saved state.
// No goroutines.
//
// A new kind of volume is one line in drivers (source.go), one file, and one line in the cases of laws_test.go.
package volume
