package store

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/server/api"
)

// defaultMinFree is what stays free for etcd: a further segment of its log and the growth of its backend. A disk that runs full under
// etcd is what it calls fatal, and it cannot even be closed then.
const defaultMinFree = 40 << 20

// room is an error when the disk is too full for another object. Deletions are let through, for they make room, and leases,
// for without them every node would count as lost.
func (s *Store) room(k *api.Kind) error {
	if k.Group == "coordination.k8s.io" && k.Kind == "Lease" {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &st); err != nil {
		return nil // the write itself will tell
	}
	if free := int64(st.Bavail) * st.Bsize; free < s.cfg.MinFree {
		return fmt.Errorf("%w: the disk of %s is full: %d MiB are free, and %d MiB must stay free; until then only reads and deletions are served",
			ErrUnavailable, s.cfg.Dir, free>>20, s.cfg.MinFree>>20)
	}
	return nil
}

// fillHoles gives the backend's file the blocks that it has the size for, so that commits into it succeed on a full disk.
func fillHoles(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "member", "snap", "db"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size())
}
