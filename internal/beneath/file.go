package beneath

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is a FIFO, device, socket or directory where a file was expected.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLong is a file of more bytes than were asked for.
var ErrTooLong = errors.New("file is too long")

// OpenFile opens the regular file name below the place. What it is is known before it is opened, so a FIFO does not block and
// a device is not touched. flags are those of open(2) without O_CREAT.
func (p *Place) OpenFile(name string, links Links, flags int) (*os.File, error) {
	at, err := p.At(name, links)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.open(flags)
}

func (p *Place) open(flags int) (*os.File, error) {
	st, err := p.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, p.wrap("open", "", ErrNotRegular)
	}
	fd, err := unix.Open(p.Path(), flags&^(unix.O_CREAT|unix.O_NOFOLLOW)|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, p.wrap("open", "", err)
	}
	return os.NewFile(uintptr(fd), p.name), nil
}

// ReadFile reads the regular file name, at most max bytes; a longer one gives its beginning and ErrTooLong.
func (p *Place) ReadFile(name string, links Links, max int64) ([]byte, error) {
	f, err := p.OpenFile(name, links, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		return data[:max], p.wrap("read", name, fmt.Errorf("%w: more than %d bytes", ErrTooLong, max))
	}
	return data, err
}

// WriteFile makes name, directly in the place, hold data. An existing file keeps its inode (it may be mounted somewhere) and its mode.
func (p *Place) WriteFile(name string, data []byte, perm os.FileMode) error {
	if err := single(name); err != nil {
		return p.wrap("write", name, err)
	}
	f, err := p.OpenFile(name, NoLinks, unix.O_WRONLY|unix.O_TRUNC)
	if errors.Is(err, unix.ENOENT) {
		f, err = p.Create(name, perm)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Create makes the new file name, directly in the place, with exactly this mode.
func (p *Place) Create(name string, perm os.FileMode) (*os.File, error) {
	if err := single(name); err != nil {
		return nil, p.wrap("create", name, err)
	}
	fd, err := unix.Openat(p.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
	if err != nil {
		return nil, p.wrap("create", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(p.name, name))
	if err := f.Chmod(perm.Perm()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
