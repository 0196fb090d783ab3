package rootpath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Stack is an image's layers seen as the one tree that overlayfs would make of them: an upper layer's file hides a lower
// one's, directories are merged unless an upper one is opaque, whiteouts hide. Symbolic links resolve in the merged tree, so
// they lead into whatever layer has their target, and never outside. Nothing is mounted. The layers must not change meanwhile.
type Stack struct{ layers []string } // lowest first

// NewStack is the tree of layers, directories whose whiteouts are overlayfs's; lowest first.
func NewStack(layers []string) Stack { return Stack{layers} }

const opaqueXattr = "trusted.overlay.opaque"

// ReadFile reads a regular file, at most max bytes of it. fs.ErrNotExist when the tree has none; anything else than a
// regular file is an error, so that a FIFO or a device in an image cannot block or harm the reader.
func (s Stack) ReadFile(name string, max int64) ([]byte, error) {
	data, err := s.read(name, max)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

func (s Stack) read(name string, max int64) ([]byte, error) {
	var at []string // directories of the merged tree
	todo := push(nil, name)
	for links := 0; len(todo) > 0; {
		comp := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if comp == ".." {
			at = at[:max0(len(at)-1)]
			continue
		}
		fd, st, err := s.find(append(at[:len(at):len(at)], comp))
		if err != nil {
			return nil, err
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFDIR:
			at = append(at[:len(at):len(at)], comp)
			unix.Close(fd)
		case kind == unix.S_IFLNK:
			target, err := readLink(fd)
			unix.Close(fd)
			if err != nil {
				return nil, err
			}
			if links++; links > maxLinks {
				return nil, unix.ELOOP
			}
			if target[0] == '/' {
				at = nil
			}
			todo = push(todo, target)
		case len(todo) > 0:
			unix.Close(fd)
			return nil, unix.ENOTDIR
		case kind != unix.S_IFREG:
			unix.Close(fd)
			return nil, errors.New("not a regular file")
		default:
			return readAll(fd, max)
		}
	}
	return nil, unix.EISDIR
}

func max0(n int) int { return max(n, 0) }

func readLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(buf[:max0(n)]), err
}

// readAll reads what an O_PATH descriptor names, and closes it.
func readAll(fd int, max int64) ([]byte, error) {
	defer unix.Close(fd)
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // this very file: the name is the descriptor
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}

// Find opens, with O_PATH, what the tree has at a path, following no link on the way and none at the end. fs.ErrNotExist when there is
// nothing or a parent is no directory.
func (s Stack) Find(name string) (fd int, st unix.Stat_t, err error) {
	path := push(nil, name)
	slices.Reverse(path)
	if slices.Contains(path, "..") {
		return -1, st, &os.PathError{Op: "find", Path: name, Err: unix.EINVAL}
	}
	if fd, st, err = s.find(path); err != nil {
		return -1, st, &os.PathError{Op: "find", Path: name, Err: err}
	}
	return fd, st, nil
}

// find opens what the topmost layer has at a path whose parents are directories of the merged tree, with O_PATH.
func (s Stack) find(path []string) (fd int, st unix.Stat_t, err error) {
	for i := len(s.layers) - 1; i >= 0; i-- {
		fd, st, hides, err := findIn(s.layers[i], path)
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0: // a whiteout
			unix.Close(fd)
			return -1, st, fs.ErrNotExist
		case err == nil:
			return fd, st, nil
		case !errors.Is(err, unix.ENOENT):
			return -1, st, err
		case hides:
			return -1, st, fs.ErrNotExist
		}
	}
	return -1, st, fs.ErrNotExist
}

// findIn looks in one layer, following nothing. Without a result, hides says that the layer hides what lower ones have there.
func findIn(layer string, path []string) (fd int, st unix.Stat_t, hides bool, err error) {
	if fd, err = unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, st, false, fmt.Errorf("open layer %s: %w", layer, err)
	}
	for _, comp := range path {
		hides = hides || isOpaque(fd)
		next, err := unix.Openat(fd, comp, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if errors.Is(err, unix.ENOTDIR) { // the parent is a file or a whiteout here
			return -1, st, true, unix.ENOENT
		}
		if err != nil {
			return -1, st, hides, err
		}
		fd = next
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, hides, err
	}
	return fd, st, hides, nil
}

func isOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), opaqueXattr, value[:])
	return err == nil && n == 1 && strings.EqualFold(string(value[:]), "y")
}
