package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// ErrInvalid is wrapped by every error that is the stream's fault and not the disk's.
var ErrInvalid = errors.New("invalid layer")

// Limits of one layer; zero fields take the defaults.
type Limits struct {
	// Bytes of all files together (default 128 GiB) and number of entries (default 8 million).
	Bytes, Entries int64
}

func (l *Limits) setDefaults() {
	if l.Bytes == 0 {
		l.Bytes = 128 << 30
	}
	if l.Entries == 0 {
		l.Entries = 8 << 20
	}
}

// Result is what Layer made, and what only Complete can finish.
type Result struct {
	// Size in bytes of all files.
	Size int64
	// implied are the directories that no entry described; "" is the root.
	implied []string
	links   []link
}

type link struct{ path, target string }

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh."
	opaqueXattr    = "trusted.overlay.opaque"
	paxXattr       = "SCHILY.xattr."
	bufferSize     = 256 << 10
	// sparseFrom is the size from which blocks of zeros are left as holes; writebackFrom that from which the kernel is
	// asked to start writing at once, so that the sync at the end finds little to do.
	sparseFrom    = 1 << 20
	writebackFrom = 512 << 10
	// maxRemembered paths in bytes; a layer of a million directories stays below it.
	maxRemembered = 64 << 20
)

// Layer unpacks the tar stream r into dir, which exists and is empty. r is read to its end of archive only.
func Layer(r io.Reader, dir string, limits Limits) (Result, error) {
	limits.setDefaults()
	root, err := rootpath.Open(dir)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits, parentFD: -1, implied: map[string]bool{"": true}, buf: make([]byte, bufferSize), privileged: os.Geteuid() == 0}
	defer u.forgetParent()
	if err := u.run(tar.NewReader(r)); err != nil {
		return Result{}, err
	}
	for p := range u.implied {
		u.res.implied = append(u.res.implied, p)
	}
	return u.res, u.setDirTimes()
}

type unpacker struct {
	root       *rootpath.Root
	limits     Limits
	entries    int64
	res        Result
	buf        []byte
	privileged bool // may chown, mknod and set trusted attributes

	// The last parent directory, kept open: entries of one directory follow each other. parentAt is its resolved place.
	// Invariant: forgotten whenever something is removed, because only a removal can change what a path resolves to.
	parent, parentAt string
	parentFD         int

	// implied are the directories that no entry has described so far, by resolved path.
	implied map[string]bool
	// times of directories, set last because their contents change them.
	times []dirTime
	// remembered is the length of all paths in implied, times and links: bounded, so that a hostile layer cannot fill memory.
	remembered int
}

type dirTime struct {
	path string
	mod  time.Time
}

func (u *unpacker) run(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return streamError(err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return fmt.Errorf("%w: more than %d entries", ErrInvalid, u.limits.Entries)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", shorten(h.Name), err)
		}
	}
}

// streamError marks errors of the tar format; those of the reader below (network, digest, cancellation) pass as they are.
func streamError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, tar.ErrWriteTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// clean makes an entry's name relative to the root; one that climbs out of it is refused rather than clamped, because
// whoever made it meant harm.
func clean(name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", fmt.Errorf("%w: the path is longer than %d bytes", ErrInvalid, unix.PathMax)
	}
	depth := 0
	for _, c := range strings.Split(name, "/") {
		switch c {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", fmt.Errorf("%w: it escapes the root", ErrInvalid)
			}
		default:
			depth++
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<32-2 || h.Gid > 1<<32-2 {
		return fmt.Errorf("%w: owner %d:%d is out of range", ErrInvalid, h.Uid, h.Gid)
	}
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is not a directory", ErrInvalid)
		}
		return u.rootDir(h)
	}
	dir, base := path.Split(name)
	if err := u.enter(strings.TrimSuffix(dir, "/")); err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(base)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, base)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(h, base, r)
	case tar.TypeSymlink:
		return u.symlink(h, base)
	case tar.TypeLink:
		return u.hardlink(h, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(h, base)
	}
	return fmt.Errorf("%w: unknown type %q", ErrInvalid, h.Typeflag)
}

// enter makes dir the current parent.
func (u *unpacker) enter(dir string) error {
	if u.parentFD >= 0 && u.parent == dir {
		return nil
	}
	u.forgetParent()
	fd, at, err := u.root.Dir(dir, u.imply)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG) {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return err
	}
	u.parent, u.parentAt, u.parentFD = dir, at, fd
	return nil
}

func (u *unpacker) forgetParent() {
	if u.parentFD >= 0 {
		unix.Close(u.parentFD)
		u.parentFD = -1
	}
}

// imply makes a directory that no entry has described yet.
func (u *unpacker) imply(dirfd int, base, at string) error {
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrInvalid, u.limits.Entries)
	}
	if len(at) >= unix.PathMax || !u.remember(at) {
		return unix.ENAMETOOLONG
	}
	if err := unix.Mkdirat(dirfd, base, 0o755); err != nil {
		return err
	}
	if err := u.own(dirfd, base, 0, 0); err != nil {
		return err
	}
	u.implied[at] = true
	return unix.Fchmodat(dirfd, base, 0o755, 0)
}

// remember accounts for a path that is kept until the end; false when there are too many.
func (u *unpacker) remember(p string) bool {
	u.remembered += len(p) + 64
	return u.remembered <= maxRemembered
}

// described notes that an entry set the attributes of a directory, whose time is set at the end.
func (u *unpacker) described(at string, mod time.Time) {
	delete(u.implied, at)
	if u.remember(at) {
		u.times = append(u.times, dirTime{at, mod})
	}
}

func (u *unpacker) own(dirfd int, base string, uid, gid int) error {
	if !u.privileged {
		return nil
	}
	return unix.Fchownat(dirfd, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// at is where base is in the tree.
func (u *unpacker) at(base string) string {
	if u.parentAt == "" {
		return base
	}
	return u.parentAt + "/" + base
}

// setDirTimes goes backwards so that a directory described twice keeps its last time.
func (u *unpacker) setDirTimes() error {
	done := map[string]bool{}
	for i := len(u.times) - 1; i >= 0; i-- {
		t := u.times[i]
		if done[t.path] {
			continue
		}
		done[t.path] = true
		fd, at, err := u.root.Dir(t.path, nil)
		if err != nil || at != t.path {
			continue // replaced by a later entry
		}
		err = setTimes(unix.AT_FDCWD, procPath(fd), t.mod, 0)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("setting the time of %s: %w", t.path, err)
		}
	}
	return nil
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func setTimes(dirfd int, base string, mod time.Time, flags int) error {
	if mod.IsZero() {
		mod = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(mod.UnixNano())
	if s := mod.Unix(); s < -1<<33 || s > 1<<33 { // beyond what nanoseconds in an int64 and ext4 can say
		ts = unix.Timespec{}
	}
	return unix.UtimesNanoAt(dirfd, base, []unix.Timespec{ts, ts}, flags)
}
