package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// rootDir applies the entry that describes the root itself.
func (u *unpacker) rootDir(h *tar.Header) error {
	if err := u.enter(""); err != nil {
		return err
	}
	u.described("", h.ModTime)
	return u.attributes(h, ".", false)
}

func (u *unpacker) directory(h *tar.Header, base string) error {
	err := unix.Mkdirat(u.parentFD, base, 0o700)
	opaque := false
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(u.parentFD, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = nil
		} else {
			// A whiteout and then a directory of that name: lower contents stay hidden.
			opaque = isWhiteout(&st)
			if err = u.remove(base); err == nil {
				err = unix.Mkdirat(u.parentFD, base, 0o700)
			}
		}
	}
	if err != nil {
		return err
	}
	u.described(u.at(base), h.ModTime)
	if opaque {
		if err := u.setOpaque(base); err != nil {
			return err
		}
	}
	return u.attributes(h, base, false)
}

func (u *unpacker) file(h *tar.Header, base string, r io.Reader) error {
	if h.Size < 0 || h.Size > u.limits.Bytes-u.res.Size {
		return fmt.Errorf("%w: the layer's files exceed %d bytes", ErrInvalid, u.limits.Bytes)
	}
	u.res.Size += h.Size
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(u.parentFD, base, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if err := u.remove(base); err != nil {
			return err
		}
		fd, err = unix.Openat(u.parentFD, base, flags, 0o600)
	}
	if err != nil {
		return err
	}
	if err := u.content(fd, h.Size, r); err != nil {
		unix.Close(fd)
		return err
	}
	if h.Size >= writebackFrom {
		unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) // a hint; the sync at the end is what counts
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	return u.attributes(h, base, true)
}

var zeros = make([]byte, bufferSize)

func (u *unpacker) content(fd int, size int64, r io.Reader) error {
	var done int64
	hole := false
	for done < size {
		n, err := io.ReadFull(r, u.buf[:min(int64(len(u.buf)), size-done)])
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return streamError(err)
		}
		if hole = size >= sparseFrom && bytes.Equal(u.buf[:n], zeros[:n]); hole {
			if _, err := unix.Seek(fd, int64(n), io.SeekCurrent); err != nil {
				return err
			}
		} else if err := writeAll(fd, u.buf[:n]); err != nil {
			return err
		}
		done += int64(n)
	}
	if hole {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (u *unpacker) symlink(h *tar.Header, base string) error {
	if h.Linkname == "" || len(h.Linkname) >= unix.PathMax || strings.ContainsRune(h.Linkname, 0) {
		return fmt.Errorf("%w: bad link target", ErrInvalid)
	}
	err := u.replace(base, func() error { return unix.Symlinkat(h.Linkname, u.parentFD, base) })
	if err != nil {
		return err
	}
	return u.attributes(h, base, true)
}

// node makes a device or a FIFO.
func (u *unpacker) node(h *tar.Header, base string) error {
	if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 1<<12-1 || h.Devminor > 1<<20-1 {
		return fmt.Errorf("%w: device number %d:%d is out of range", ErrInvalid, h.Devmajor, h.Devminor)
	}
	mode := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	if mode == unix.S_IFIFO {
		dev = 0
	} else if !u.privileged {
		return nil
	}
	err := u.replace(base, func() error { return unix.Mknodat(u.parentFD, base, mode|0o600, int(dev)) })
	if err != nil {
		return err
	}
	return u.attributes(h, base, true)
}

func (u *unpacker) hardlink(h *tar.Header, base string) error {
	target, err := clean(h.Linkname)
	if err != nil || target == "" {
		return fmt.Errorf("%w: its link target %q escapes the root", ErrInvalid, shorten(h.Linkname))
	}
	if target == u.at(base) {
		return nil
	}
	dir, file := path.Split(target)
	fd, _, err := u.root.Dir(dir, nil)
	if err == nil {
		err = u.linkTo(fd, file, base)
		unix.Close(fd)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		// A file of a lower layer, or nowhere: Complete finds out.
		if !u.remember(u.at(base) + target) {
			return fmt.Errorf("%w: too many hard links into lower layers", ErrInvalid)
		}
		u.res.links = append(u.res.links, link{u.at(base), target})
		return nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: hard link to %q: %w", ErrInvalid, shorten(target), err)
	}
	return err
}

// linkTo links file in the directory fd to base. The target is looked at first: replacing base must not remove anything
// when there is nothing to link to.
func (u *unpacker) linkTo(fd int, file, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, file, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EPERM
	}
	if isWhiteout(&st) {
		return unix.ENOENT
	}
	var old unix.Stat_t
	if unix.Fstatat(u.parentFD, base, &old, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Ino == st.Ino && old.Dev == st.Dev {
		return nil
	}
	return u.replace(base, func() error { return unix.Linkat(fd, file, u.parentFD, base, 0) })
}

func (u *unpacker) whiteout(base string) error {
	if base == whiteoutOpaque {
		return u.setOpaque(".")
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil // aufs's own bookkeeping
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("%w: bad whiteout", ErrInvalid)
	}
	var st unix.Stat_t
	switch err := unix.Fstatat(u.parentFD, hidden, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		// A whiteout hides lower layers only, never what its own layer has.
		return u.setOpaque(hidden)
	case err == nil:
		return nil
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if !u.privileged {
		return nil
	}
	return unix.Mknodat(u.parentFD, hidden, unix.S_IFCHR, 0)
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func (u *unpacker) setOpaque(base string) error {
	if !u.privileged {
		return nil
	}
	return unix.Lsetxattr(procPath(u.parentFD)+"/"+base, opaqueXattr, []byte("y"), 0)
}

// replace does what creates base, after removing what is in its place if need be.
func (u *unpacker) replace(base string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.remove(base); err != nil {
		return err
	}
	return create()
}

// remove deletes base, a whole tree if it is one, and keeps the parent current.
func (u *unpacker) remove(base string) error {
	err := unix.Unlinkat(u.parentFD, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = os.RemoveAll(procPath(u.parentFD) + "/" + base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// attributes sets owner, then extended attributes and mode (changing the owner clears both), then the time.
func (u *unpacker) attributes(h *tar.Header, base string, withTime bool) error {
	if err := u.own(u.parentFD, base, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := u.xattrs(h, base); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(u.parentFD, base, uint32(h.Mode&0o7777), 0); err != nil {
			return err
		}
	}
	if !withTime {
		return nil
	}
	return setTimes(u.parentFD, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
}

func (u *unpacker) xattrs(h *tar.Header, base string) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !u.privileged || !allowedXattr(name) {
			continue
		}
		err := unix.Lsetxattr(procPath(u.parentFD)+"/"+base, name, []byte(value), 0)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
			continue // user.* on a symbolic link, or a file system that does not know them
		}
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// allowedXattr leaves out the namespaces by which a layer could steer overlayfs or the host's security modules.
func allowedXattr(name string) bool {
	if strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	return name == "security.capability" || strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
}
