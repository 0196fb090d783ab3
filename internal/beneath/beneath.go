package beneath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Links says which symbolic links a resolution follows.
type Links uint64

const (
	// NoLinks follows none: a link anywhere in the path is an error.
	NoLinks Links = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
	// LinksInside follows links that stay beneath the place; an absolute one is an error.
	LinksInside Links = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
)

// ErrOutside is a path that leads out of its place.
var ErrOutside = errors.New("it leads out of its directory")

// tries is how often a resolution is repeated that the kernel gave up because something was renamed meanwhile.
const tries = 100

// Place is an open descriptor (O_PATH) of a file or directory, never of a symbolic link.
type Place struct {
	fd   int
	name string // for messages
}

// Open opens a directory by a path of which no part can be changed by anybody but root.
func Open(path string) (*Place, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Place{fd, path}, nil
}

// Close releases the descriptor.
func (p *Place) Close() error { return unix.Close(p.fd) }

// Path is a path by which system calls of this process find exactly this place, while it is open.
func (p *Place) Path() string { return "/proc/self/fd/" + strconv.Itoa(p.fd) }

// Stat of the place.
func (p *Place) Stat() (st unix.Stat_t, err error) {
	err = unix.Fstat(p.fd, &st)
	return st, p.wrap("stat", "", err)
}

// IsDir says whether the place is a directory.
func (p *Place) IsDir() bool {
	st, err := p.Stat()
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// MountRoot says whether the place is the root of a mount.
func (p *Place) MountRoot() bool {
	var st unix.Statx_t
	if unix.Statx(p.fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st) != nil {
		return false
	}
	return st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// At opens what name is below the place. name is relative and has no "..".
func (p *Place) At(name string, links Links) (*Place, error) {
	clean, err := local(name)
	if err != nil {
		return nil, p.wrap("open", name, err)
	}
	fd, err := openat2(p.fd, clean, unix.O_PATH|unix.O_CLOEXEC, uint64(links))
	if err != nil {
		return nil, p.wrap("open", name, err)
	}
	at := &Place{fd, filepath.Join(p.name, clean)}
	if st, err := at.Stat(); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		at.Close()
		return nil, p.wrap("open", name, errors.Join(err, unix.ELOOP))
	}
	return at, nil
}

// Made is called with each directory that MkdirAll makes, before anybody else can enter it (mode 0700).
type Made func(*Place) error

// MkdirAll opens the directory name below the place and makes what is missing of it. Directories that exist may be reached
// through links, as told; none is made through a link. Without made a new one gets mode perm.
func (p *Place) MkdirAll(name string, links Links, perm os.FileMode, made Made) (*Place, error) {
	at, err := p.At(name, links)
	if !errors.Is(err, unix.ENOENT) {
		if err == nil && !at.IsDir() {
			at.Close()
			return nil, p.wrap("mkdir", name, unix.ENOTDIR)
		}
		return at, err
	}
	clean, err := local(name)
	if err != nil {
		return nil, p.wrap("mkdir", name, err)
	}
	if clean == "." {
		return nil, p.wrap("mkdir", name, unix.ENOENT)
	}
	parent, err := p.MkdirAll(filepath.Dir(clean), links, perm, made)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	return parent.mkdir(filepath.Base(clean), perm, made)
}

func (p *Place) mkdir(base string, perm os.FileMode, made Made) (*Place, error) {
	err := unix.Mkdirat(p.fd, base, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, p.wrap("mkdir", base, err)
	}
	fresh := err == nil
	at, err := p.At(base, NoLinks)
	if err != nil || !fresh {
		return at, err
	}
	if made == nil {
		made = func(d *Place) error { return d.Chmod(uint32(perm.Perm())) }
	}
	if err := made(at); err != nil {
		at.Close()
		return nil, err
	}
	return at, nil
}

// Chmod sets the mode bits (0o7777).
func (p *Place) Chmod(mode uint32) error {
	return p.wrap("chmod", "", unix.Chmod(p.Path(), mode&0o7777))
}

// Chown sets owner and group; -1 leaves one alone.
func (p *Place) Chown(uid, gid int) error {
	return p.wrap("chown", "", unix.Fchownat(p.fd, "", uid, gid, unix.AT_EMPTY_PATH))
}

// Rename renames a file or directory directly in the place.
func (p *Place) Rename(from, to string) error {
	if err := errors.Join(single(from), single(to)); err != nil {
		return p.wrap("rename", from, err)
	}
	return p.wrap("rename", from, unix.Renameat(p.fd, from, p.fd, to))
}

func (p *Place) wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: filepath.Join(p.name, name), Err: err}
}

// local returns name in its shortest form, if it names something below.
func local(name string) (string, error) {
	clean := filepath.Clean(name)
	if name == "" || !filepath.IsLocal(clean) {
		return "", ErrOutside
	}
	return clean, nil
}

// single refuses what is not one plain name.
func single(name string) error {
	if name == "" || name == "." || name == ".." || name != filepath.Base(name) {
		return fmt.Errorf("%q is not the name of an entry", name)
	}
	return nil
}

func openat2(dir int, name string, flags int, resolve uint64) (fd int, err error) {
	for range tries {
		fd, err = unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags), Resolve: resolve})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EXDEV) && resolve&unix.RESOLVE_NO_XDEV == 0 {
		err = ErrOutside
	}
	return fd, err
}
