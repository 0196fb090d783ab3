package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// Volumes makes the directories that an image's VOLUME lines ask for, one a path, for a prepared container: folders outside its
// root filesystem, each with a copy of what the image has at the path, owner and mode too. They live and are removed with the
// snapshot. It returns the folders by path, cleaned; paths where the image has something else than a directory are left out, as
// is the root. Idempotent.
func (s *Store) Volumes(ctx context.Context, id string, paths []string) (map[string]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	unlock, err := s.lock(id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(s.dir, id)
	root, err := rootpath.Open(filepath.Join(dir, "rootfs"))
	if err != nil {
		return nil, fmt.Errorf("making the volumes of container %s: %w", id, err)
	}
	defer root.Close()
	sorted := make([]string, 0, len(paths))
	for _, p := range paths {
		sorted = append(sorted, path.Join("/", p))
	}
	slices.Sort(sorted)
	out := map[string]string{}
	for i, p := range slices.Compact(sorted) {
		if p == "/" {
			continue
		}
		folder := filepath.Join(dir, "volumes", strconv.Itoa(i))
		made, err := makeVolume(ctx, root, p, folder)
		if err != nil {
			return nil, fmt.Errorf("making the volume %s of container %s: %w", p, id, err)
		}
		if made {
			out[p] = folder
		}
	}
	return out, nil
}

// makeVolume copies what is at p into folder, under another name first: a folder with its own name is complete.
func makeVolume(ctx context.Context, root *rootpath.Root, p, folder string) (made bool, err error) {
	if _, err := os.Lstat(folder); err == nil {
		return true, nil
	}
	from, _, err := root.Dir(p, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		from = -1
	case errors.Is(err, unix.ENOTDIR):
		return false, nil
	case err != nil:
		return false, err
	default:
		defer unix.Close(from)
	}
	half := folder + ".half"
	if err := os.RemoveAll(half); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(half), 0o711); err != nil {
		return false, err
	}
	if err := os.Mkdir(half, 0o755); err != nil {
		return false, err
	}
	to, err := unix.Open(half, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(to)
	if from >= 0 {
		if err := copyTree(ctx, from, to); err != nil {
			return false, err
		}
	}
	return true, os.Rename(half, folder)
}

// copyTree copies what is in the directory from, which may be open with O_PATH, and its attributes to the directory to. Everything is
// opened below its directory's descriptor, and no link is followed.
func copyTree(ctx context.Context, from, to int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fd, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(ctx, fd, to, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return copyAttributes(fd, to)
}

func copyEntry(ctx context.Context, from, to int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		return both(from, to, name, unix.O_RDONLY|unix.O_DIRECTORY, unix.O_RDONLY|unix.O_DIRECTORY, func(a, b int) error { return copyTree(ctx, a, b) })
	case unix.S_IFREG:
		return both(from, to, name, unix.O_RDONLY|unix.O_NONBLOCK, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(a, b int) error {
			if err := copyContent(a, b); err != nil {
				return err
			}
			return copyAttributes(a, b)
		})
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, name, buf)
		if err == nil {
			err = unix.Symlinkat(string(buf[:n]), to, name)
		}
		if err != nil {
			return err
		}
	case unix.S_IFSOCK:
		return nil // nobody listens
	default:
		if err := unix.Mknodat(to, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// both opens name in the two directories.
func both(from, to int, name string, readFlags, writeFlags int, do func(a, b int) error) error {
	a, err := unix.Openat(from, name, readFlags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(a)
	b, err := unix.Openat(to, name, writeFlags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(b)
	return do(a, b)
}

func copyContent(from, to int) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := unix.Read(from, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			m, err := unix.Write(to, rest)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			rest = rest[max(m, 0):]
		}
	}
}

// copyAttributes copies owner, extended attributes, mode and time, in this order: a changed owner clears some of the others.
func copyAttributes(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Flistxattr(from, buf)
	if err != nil {
		n = 0 // a file system without them
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name != "security.capability" && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(from, name, value)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", to), []unix.Timespec{st.Atim, st.Mtim}, 0)
}
