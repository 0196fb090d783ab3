package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// mountMapped mounts the layers with their owners shifted to those of a user namespace. overlayfs itself cannot be mounted so, its
// lower directories can. They are mounted in a mount namespace of a thread, which ends with the call and takes them along: the
// overlay keeps what it needs, and nothing is left to clean up whenever the daemon dies.
func (o overlay) mountMapped() error {
	var fd int
	var err error
	onOwnThread(func() { fd, err = o.makeMapped() })
	if errors.Is(err, errOldKernel) {
		return errors.New("user namespaces need Linux 6.5 or later")
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, filepath.Join(o.dir, "rootfs"), unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// onOwnThread calls f on a thread that then ends. It is not the process's first thread: that one never ends, and /proc/self shows its
// namespaces.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked, so that the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		defer runtime.UnlockOSThread()
		onOwnThread(f) // elsewhere, while this goroutine holds the first thread
	}()
	<-done
}

func (o overlay) makeMapped() (int, error) {
	users, err := os.Open(o.users.Namespace)
	if err != nil {
		return -1, fmt.Errorf("open the user namespace: %w", err)
	}
	defer users.Close()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("make the mounts private: %w", err)
	}
	place := filepath.Join(o.dir, "rootfs")
	if err := unix.Mount("layers", place, "tmpfs", 0, "mode=700"); err != nil {
		return -1, fmt.Errorf("mount a place for the layers: %w", err)
	}
	var mapped []string
	for i, dir := range o.stack() {
		at := filepath.Join(place, strconv.Itoa(i))
		if err := mapLayer(dir, at, int(users.Fd())); err != nil {
			return -1, fmt.Errorf("layer %s: %w", dir, err)
		}
		mapped = append(mapped, at)
	}
	return o.make(mapped)
}

// mapLayer mounts a layer at a new directory, its owners shifted.
func mapLayer(dir, at string, users int) error {
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users)}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("its file system cannot map owners: %w", err)
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
