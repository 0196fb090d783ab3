// Package rootpath opens paths inside a directory tree as a process would see them whose root directory that tree is:
// absolute symbolic links start at the tree's root, ".." stops there, and nothing ever resolves to a path outside.
//
// It walks one component at a time with openat(O_NOFOLLOW), so it needs no openat2 (Linux 5.6). The tree must not be
// renamed about by somebody else during a walk: it is meant for layers that are being unpacked and for root filesystems
// whose containers do not run yet, and even then ".." is counted and never leaves the root.
//
// It has no goroutines and no state but the open directory.
package rootpath

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's limit on symbolic links in one path, doubled a few times for the longest honest chains.
const maxLinks = 255

// Root is an open directory tree.
type Root struct{ fd int }

// Open opens the directory tree at dir.
func Open(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Root{fd: fd}, nil
}

// Close releases the tree.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Mkdir makes one missing directory named base in dirfd; path is where that is in the tree, without a leading slash.
type Mkdir func(dirfd int, base, path string) error

// Dir opens the directory name with O_PATH, following symbolic links inside the tree. Missing components are made by mk;
// with a nil mk they are ENOENT. The caller closes the descriptor. path is the directory's resolved place in the tree.
func (r *Root) Dir(name string, mk Mkdir) (fd int, path string, err error) {
	w, err := r.walk(name, mk, false)
	if err != nil {
		return -1, "", &os.PathError{Op: "resolve", Path: name, Err: err}
	}
	return w.fd, strings.Join(w.at, "/"), nil
}

// OpenFile opens the regular file name for reading, following symbolic links inside the tree. Anything else than a
// regular file is an error, so that a FIFO or a device in an image cannot block or harm the reader.
func (r *Root) OpenFile(name string) (*os.File, error) {
	w, err := r.walk(name, nil, true)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(w.fd)
	if w.leaf == "" {
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.EISDIR}
	}
	fd, err := unix.Openat(w.fd, w.leaf, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: errors.Join(err, errors.New("not a regular file"))}
	}
	return f, nil
}

// walker is a place in the tree: fd is open on the directory whose components from the root are at. leaf is set when the
// walk ended at a regular file in it.
type walker struct {
	fd   int
	at   []string
	leaf string
}

func (r *Root) walk(name string, mk Mkdir, wantFile bool) (_ *walker, err error) {
	w := &walker{fd: -1}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.fd, err = unix.Openat(r.fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	todo := push(nil, name)
	for links := 0; len(todo) > 0; {
		comp := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if comp == ".." {
			if err := w.up(); err != nil {
				return nil, err
			}
			continue
		}
		target, err := w.down(comp, mk, wantFile && len(todo) == 0)
		if err != nil {
			return nil, err
		}
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return nil, unix.ELOOP
		}
		if target[0] == '/' {
			if err := w.reset(r); err != nil {
				return nil, err
			}
		}
		todo = push(todo, target)
	}
	return w, nil
}

// push adds the components of name to the stack, the first one on top.
func push(todo []string, name string) []string {
	comps := strings.Split(name, "/")
	for i := len(comps) - 1; i >= 0; i-- {
		if c := comps[i]; c != "" && c != "." {
			todo = append(todo, c)
		}
	}
	return todo
}

// down enters comp. A symbolic link is not entered: its target is returned.
func (w *walker) down(comp string, mk Mkdir, fileOK bool) (target string, err error) {
	fd, err := unix.Openat(w.fd, comp, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) && mk != nil {
		if err := mk(w.fd, comp, strings.Join(append(w.at[:len(w.at):len(w.at)], comp), "/")); err != nil {
			return "", err
		}
		fd, err = unix.Openat(w.fd, comp, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w.close()
		w.fd, w.at = fd, append(w.at, comp)
		return "", nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return "", unix.ENOENT
		}
		return string(buf[:n]), nil
	}
	unix.Close(fd)
	if fileOK {
		w.leaf = comp
		return "", nil
	}
	return "", fmt.Errorf("%s: %w", comp, unix.ENOTDIR)
}

func (w *walker) up() error {
	if len(w.at) == 0 {
		return nil
	}
	fd, err := unix.Openat(w.fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.close()
	w.fd, w.at = fd, w.at[:len(w.at)-1]
	return nil
}

func (w *walker) reset(r *Root) error {
	fd, err := unix.Openat(r.fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.close()
	w.fd, w.at = fd, nil
	return nil
}

func (w *walker) close() {
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
	w.fd = -1
}
