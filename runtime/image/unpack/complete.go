package unpack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// Complete finishes the layer in dir with what the layers below it, lowest first, know: the attributes of directories
// that the layer only implied, and the files its hard links point to.
func Complete(dir string, lower []string, res Result) error {
	root, err := rootpath.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	below := rootpath.NewStack(lower)
	for _, p := range res.implied {
		if st := findLower(below, p, unix.S_IFDIR); st != nil {
			err := within(root, p, func(at string) error { return copyAttributes(at+"/.", st) })
			st.close()
			if err != nil {
				return err
			}
		}
	}
	for _, l := range res.links {
		st := findLower(below, l.target, unix.S_IFREG)
		if st == nil {
			return fmt.Errorf("%w: entry %q: hard link to %q, which no layer has", ErrInvalid, shorten(l.path), shorten(l.target))
		}
		dir, base := path.Split(l.path)
		err := within(root, strings.TrimSuffix(dir, "/"), func(at string) error { return copyFile(at+"/"+base, st) })
		st.close()
		if err != nil {
			return fmt.Errorf("entry %q: copying %q from a lower layer: %w", shorten(l.path), shorten(l.target), err)
		}
	}
	return nil
}

// within calls do with a path to the directory dir that no symbolic link can divert; not at all if a later entry of the
// layer removed the directory or put a link in its place.
func within(root *rootpath.Root, dir string, do func(at string) error) error {
	fd, at, err := root.Dir(dir, nil)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if at != dir {
		return nil
	}
	return do(procPath(fd))
}

// found is an open file or directory of a lower layer; path leads to it whatever its layer's names are.
type found struct {
	path string
	fd   int
	unix.Stat_t
}

func (f *found) close() { unix.Close(f.fd) }

// findLower opens what the lower layers together have at p if it is of the wanted type; nil otherwise. No link is followed.
func findLower(lower rootpath.Stack, p string, want uint32) *found {
	fd, st, err := lower.Find(p)
	if err != nil {
		return nil
	}
	if st.Mode&unix.S_IFMT != want {
		unix.Close(fd)
		return nil
	}
	return &found{procPath(fd), fd, st}
}

func copyAttributes(dst string, from *found) error {
	if err := unix.Lchown(dst, int(from.Uid), int(from.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("owner of %s: %w", dst, err)
	}
	if err := copyXattrs(dst, from.path); err != nil {
		return err
	}
	if err := unix.Chmod(dst, from.Mode&0o7777); err != nil {
		return fmt.Errorf("mode of %s: %w", dst, err)
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dst, []unix.Timespec{from.Atim, from.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyXattrs(dst, src string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Listxattr(src, buf)
	if err != nil {
		return nil // none, or a file system without them
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !allowedXattr(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(src, name, value)
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", name, src, err)
		}
		if err := unix.Lsetxattr(dst, name, value[:n], 0); err != nil {
			return fmt.Errorf("setting %s of %s: %w", name, dst, err)
		}
	}
	return nil
}

func copyFile(dst string, from *found) error {
	in, err := os.Open(from.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // a later entry put something else there
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return copyAttributes(dst, from)
}
