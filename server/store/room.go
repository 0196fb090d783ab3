package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/server/api"
)

// defaultMinFree is what stays free for etcd: a further segment of its log and the growth of its backend. A disk that runs full under
// etcd is what it calls fatal, and it cannot even be closed then.
const (
	defaultMinFree        = 40 << 20
	defaultMinFreeReserve = 16 << 20
)

// minInodes must stay free as well: etcd makes a file for each segment of its log. The reserve has a quarter of them.
const minInodes = 64

// purpose says how much room a write may take.
type purpose int

const (
	// ordinary writes end at Config.MinFree.
	ordinary purpose = iota
	// telling writes say what is, or bring a deletion on; they end at Config.MinFreeReserve. Without them the API would lie on a full disk: an evicted
	// pod would be shown Running, and a node without DiskPressure.
	telling
	// vital writes are always taken: without leases every node would count as lost.
	vital
)

type reserveKey struct{}

// WithReserve marks the writes with ctx as ones that only tell what is (a status): they have a reserve of the disk of their own. Changes of objects that are
// being deleted, of events that are there already and of nodes have it anyway.
func WithReserve(ctx context.Context) context.Context {
	return context.WithValue(ctx, reserveKey{}, true)
}

func purposeOf(ctx context.Context, k *api.Kind, obj, old api.Object) purpose {
	switch {
	case k.Group == "coordination.k8s.io" && k.Kind == "Lease":
		return vital
	case ctx.Value(reserveKey{}) != nil, obj.GetDeletionTimestamp() != nil, old != nil && (k.Kind == "Event" || k.Kind == "Node"):
		return telling
	}
	return ordinary
}

// room is an error when the disk is too full for another object. Deletions do not ask, for they make room.
func (s *Store) room(p purpose) error {
	if p == vital {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &st); err != nil {
		return nil // the write itself will tell
	}
	bytes, inodes := s.cfg.MinFree, uint64(minInodes)
	served := "reads, deletions and statuses"
	if p == telling {
		bytes, inodes, served = s.cfg.MinFreeReserve, inodes/4, "reads, deletions and leases"
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes {
		return fmt.Errorf("%w: %d MiB of the disk of %s are free, and %d MiB must stay free; until then only %s are served",
			ErrFull, free>>20, s.cfg.Dir, bytes>>20, served)
	}
	if st.Files > 0 && st.Ffree < inodes { // some file systems do not count them
		return fmt.Errorf("%w: %d inodes of the disk of %s are free, and %d must stay free; until then only %s are served",
			ErrFull, st.Ffree, s.cfg.Dir, inodes, served)
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
