// Package snapshot makes root filesystems: overlayfs mounts of an image's layers with a writable layer a container.
//
//	<Dir>/empty/0, empty/1               lower layers for images that have too few
//	<Dir>/<container id>/image           the image it was made from; written last, so without it the snapshot is half-made
//	<Dir>/<container id>/upper, work     the writable layer (survives a reboot)
//	<Dir>/<container id>/volumes/<n>     folders for the image's VOLUMEs; <n>.half while they are filled
//	<Dir>/<container id>/rootfs          where it is mounted
//	<Dir>/<container id>/l/<n>           links to the layers, only for kernels before 6.5
//	<Dir>/.rm-*                          being deleted
//
// It starts no goroutine that outlives a call. A mount belongs to the snapshot, not to this process: after a restart of
// the daemon it is still there and used again, after a reboot it is made again over the same writable layer.
package snapshot
