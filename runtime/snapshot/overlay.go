package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// overlay is one mount to make: lower layers, lowest first, and dir with upper and work, at dir/rootfs.
type overlay struct {
	dir, empty string
	lower      []string
	writable   bool
	users      *rootpath.Users // nil for the host's
	// byPage remembers that the kernel is old, which each attempt would make it write to its log. It may be nil.
	byPage *atomic.Bool
}

// stack lists the lower directories in overlayfs's order, topmost first. overlayfs wants one with a writable layer and
// two without.
func (o overlay) stack() []string {
	var dirs []string
	for i := len(o.lower) - 1; i >= 0; i-- {
		dirs = append(dirs, o.lower[i])
	}
	need := 2
	if o.writable {
		need = 1
	}
	for i := len(dirs); i < need; i++ {
		dirs = append(dirs, filepath.Join(o.empty, strconv.Itoa(i)))
	}
	return dirs
}

// mount uses the mount API that takes layers one by one (Linux 6.5); older kernels read one page of options, so there
// the layers get short names.
func (o overlay) mount() error {
	if o.users != nil {
		return o.mountMapped()
	}
	if o.byPage != nil && o.byPage.Load() {
		return o.mountByPage()
	}
	err := o.mountByOne()
	if !errors.Is(err, errOldKernel) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Before 6.5 overlayfs takes any option, and says EINVAL at the end: only trying tells old kernels from bad options.
	if perr := o.mountByPage(); perr != nil {
		return fmt.Errorf("%w; with the layers in one option: %w", err, perr)
	}
	if o.byPage != nil {
		o.byPage.Store(true)
	}
	return nil
}

var errOldKernel = errors.New("the kernel has no lowerdir+")

func (o overlay) mountByOne() error {
	fd, err := o.make(o.stack())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, filepath.Join(o.dir, "rootfs"), unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// make returns the mount of these lower directories; it is nowhere yet.
func (o overlay) make(stack []string) (int, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, errOldKernel
	}
	defer unix.Close(fd)
	for i, dir := range stack {
		if err := unix.FsconfigSetString(fd, "lowerdir+", dir); err != nil {
			if i == 0 && errors.Is(err, unix.EINVAL) {
				if _, serr := os.Stat(dir); serr != nil {
					return -1, serr
				}
				return -1, errOldKernel
			}
			return -1, fmt.Errorf("layer %s: %w", dir, explain(fd, err))
		}
	}
	options := [][2]string{{"source", "skiff"}}
	if o.writable {
		options = append(options, [2]string{"upperdir", filepath.Join(o.dir, "upper")}, [2]string{"workdir", filepath.Join(o.dir, "work")})
	}
	for _, kv := range options {
		if err := unix.FsconfigSetString(fd, kv[0], kv[1]); err != nil {
			return -1, fmt.Errorf("option %s: %w", kv[0], explain(fd, err))
		}
	}
	// A kernel may turn these on by default; both tie a writable layer to one kernel's view of its lower layers.
	for _, opt := range []string{"index", "metacopy"} {
		unix.FsconfigSetString(fd, opt, "off")
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, explain(fd, err)
	}
	attr := 0
	if !o.writable {
		attr = unix.MOUNT_ATTR_RDONLY
	}
	mfd, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, explain(fd, err)
	}
	return mfd, nil
}

// explain adds what the kernel says in the mount's log.
func explain(fd int, err error) error {
	var said []string
	buf := make([]byte, 1024)
	for range 8 {
		n, rerr := unix.Read(fd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		said = append(said, strings.TrimSpace(string(buf[:n])))
	}
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(said, "; "))
}

// mountByPage mounts with the one-page option string of mount(2). The layers are named by links l/0, l/1, … relative to
// the working directory of a thread that is given up afterwards.
func (o overlay) mountByPage() error {
	links := filepath.Join(o.dir, "l")
	if err := errors.Join(os.RemoveAll(links), os.Mkdir(links, 0o700)); err != nil {
		return err
	}
	var short []string
	for i, dir := range o.stack() {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		name := "l/" + strconv.FormatInt(int64(i), 36)
		if err := os.Symlink(abs, filepath.Join(o.dir, name)); err != nil {
			return err
		}
		short = append(short, name)
	}
	data := "lowerdir=" + strings.Join(short, ":")
	flags := uintptr(unix.MS_RDONLY)
	if o.writable {
		data, flags = data+",upperdir=upper,workdir=work", 0
	}
	if len(data) >= os.Getpagesize() {
		return fmt.Errorf("%d layers do not fit into the mount options of this kernel", len(o.lower))
	}
	return inDirectory(o.dir, func() error { return unix.Mount("skiff", "rootfs", "overlay", flags, data) })
}

// inDirectory runs do on a thread of its own whose working directory is dir.
func inDirectory(dir string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(dir)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}
