package beneath

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MaxDepth is how deep Walk goes. One descriptor is open for each directory on the way; no path of Linux's usual length has more parts.
const MaxDepth = 2000

// ErrTooDeep is a tree that goes deeper than MaxDepth.
var ErrTooDeep = errors.New("directories are nested too deep")

// Entry is something that Walk found.
type Entry struct {
	// Stat is what it was when it was found; it may have been replaced since.
	Stat unix.Stat_t
	dir  int // the descriptor of its directory
	name string
	path string
}

// Name of the entry in its directory, "." for the place itself.
func (e *Entry) Name() string { return e.name }

// Place opens the entry; a link is an error.
func (e *Entry) Place() (*Place, error) {
	return (&Place{e.dir, e.path}).At(e.name, NoLinks)
}

// Lchown changes owner and group of the entry itself, also of a link.
func (e *Entry) Lchown(uid, gid int) error {
	return (&Place{e.dir, e.path}).wrap("chown", e.name, unix.Fchownat(e.dir, e.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW))
}

// Walk calls f with everything in the tree of the place, contents before their directory, the place itself last. It follows no link,
// does not enter other mounts, and passes over what vanishes meanwhile. An error of f ends it.
func (p *Place) Walk(ctx context.Context, f func(*Entry) error) error {
	w := walker{ctx, f}
	e := &Entry{dir: p.fd, name: ".", path: p.name}
	if err := unix.Fstat(p.fd, &e.Stat); err != nil {
		return p.wrap("walk", "", err)
	}
	return w.visit(e, 0)
}

type walker struct {
	ctx context.Context
	f   func(*Entry) error
}

// visit what is in the entry, then the entry.
func (w *walker) visit(e *Entry, depth int) error {
	if e.Stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := w.enter(e, depth); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return w.f(e)
}

func (w *walker) enter(e *Entry, depth int) error {
	at := &Place{e.dir, e.path}
	if depth > MaxDepth {
		return at.wrap("walk", e.name, ErrTooDeep)
	}
	d, err := openDir(e.dir, e.name)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil // another mount, or no directory any more
	case err != nil:
		return at.wrap("walk", e.name, err)
	}
	defer d.Close()
	path := filepath.Join(e.path, e.name)
	return eachName(d, func(name string) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		child := &Entry{dir: int(d.Fd()), name: name, path: path}
		err := unix.Fstatat(child.dir, name, &child.Stat, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return (&Place{child.dir, path}).wrap("stat", name, err)
		}
		return w.visit(child, depth+1)
	})
}

// openDir opens a directory for reading, if it is one and on the same mount.
func openDir(dir int, name string) (*os.File, error) {
	fd, err := openat2(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint64(NoLinks)|unix.RESOLVE_NO_XDEV)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// eachName calls f with the names in a directory, some hundred at a time: a directory may have millions.
func eachName(d *os.File, f func(string) error) error {
	for {
		names, err := d.Readdirnames(256)
		for _, n := range names {
			if err := f(n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Names are the names in the place, which is a directory.
func (p *Place) Names() (out []string, err error) {
	d, err := openDir(p.fd, ".")
	if err != nil {
		return nil, p.wrap("read", "", err)
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
