package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// release takes etcd's open files below dir away from a member that failed and cannot be closed, since one of its goroutines has died with a lock in its hands
// or hangs in the kernel. Each descriptor becomes one of /dev/full: the locks on the files are gone, so that another member can open them, and nothing that is
// left of the old one can write. Its memory is lost until the process ends.
func release(dir string) (released int, err error) {
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return 0, err
	}
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/full: %w", err)
	}
	defer unix.Close(full)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		path, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || !strings.HasPrefix(path, dir+"/") {
			continue
		}
		_ = unix.Flock(fd, unix.LOCK_UN) // a mapping of the file would keep the lock
		if err := unix.Dup3(full, fd, unix.O_CLOEXEC); err != nil {
			failed = append(failed, fmt.Errorf("release %s: %w", path, err))
			continue
		}
		released++
	}
	return released, errors.Join(failed...)
}

// probe is an error when the disk below dir takes no writes: etcd is not opened again on it before it does.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Sync(), f.Close())
}
