package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// SubPath resolves sub inside the volume at root and binds what it finds to a place of its own, so that nothing inside
// the volume can change afterwards what the container mounts. A path that does not exist is made as a directory.
func (m *Manager) SubPath(uid types.UID, container string, n int, root, sub string) (string, error) {
	fd, err := openBeneath(root, sub)
	if errors.Is(err, unix.ENOENT) {
		if err = mkdirBeneath(root, sub); err == nil {
			fd, err = openBeneath(root, sub)
		}
	}
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath %q: %w", sub, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	target := filepath.Join(m.podDir(uid), "subpaths", container, strconv.Itoa(n))
	if err := unmountBelow(target); err != nil {
		return "", err
	}
	if err := os.RemoveAll(target); err != nil {
		return "", err
	}
	if err := makeTarget(target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return "", err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	return target, nil
}

func makeTarget(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// openBeneath lets the kernel resolve sub below root: "..", absolute symlinks and magic links that lead out fail.
func openBeneath(root, sub string) (int, error) {
	rootFD, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(rootFD)
	for {
		fd, err := unix.Openat2(rootFD, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			if errors.Is(err, unix.EXDEV) {
				return -1, errors.New("it leads out of the volume")
			}
			return fd, err
		}
	}
}

func mkdirBeneath(root, sub string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	st, err := os.Stat(root)
	if err != nil {
		return err
	}
	return r.MkdirAll(filepath.Clean(sub), st.Mode().Perm())
}

// ReadFile reads a file of a volume, without leaving it.
func ReadFile(root, name string) ([]byte, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.ReadFile(filepath.Clean(name))
}
