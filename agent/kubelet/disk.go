package kubelet

import "golang.org/x/sys/unix"

// disk is the file system that holds the node's data, in bytes.
type disk struct {
	// size is what there is to share: used and free. Blocks that are reserved for root, or lie beyond a quota, are in
	// neither (df counts the same way): a disk on which much is reserved would otherwise always count as nearly full.
	size, free            int64
	inodes, inodesFree    uint64
	capacity, used, avail uint64
}

// readDisk measures; ok is false when the folder cannot be asked.
func readDisk(dir string) (d disk, ok bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Blocks == 0 {
		return d, false
	}
	block := uint64(fs.Bsize)
	d = disk{inodes: fs.Files, inodesFree: fs.Ffree, capacity: fs.Blocks * block, used: (fs.Blocks - fs.Bfree) * block, avail: fs.Bavail * block}
	d.size, d.free = int64(d.used+d.avail), int64(d.avail)
	return d, true
}

// below says whether less than share (0 to 1) of the disk is free.
func (d disk) below(share float64) bool { return float64(d.free) < float64(d.size)*share }
