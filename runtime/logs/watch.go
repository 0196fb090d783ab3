package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch wakes up when anything happens in a log's folder: its file is written, renamed, or made.
type watch struct {
	f    *os.File
	wake chan error
}

func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ONLYDIR
	dir, err := folder(path)
	if err == nil {
		defer dir.Close()
		_, err = unix.InotifyAddWatch(fd, dir.Path(), mask)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", filepath.Dir(path), err)
	}
	w := &watch{f: os.NewFile(uintptr(fd), "inotify"), wake: make(chan error, 1)}
	go w.read()
	return w, nil
}

// read ends when the watch is closed.
func (w *watch) read() {
	buf := make([]byte, 4096)
	for {
		_, err := w.f.Read(buf)
		select {
		case w.wake <- err:
		default: // it is awake already, and will look at everything
		}
		if err != nil {
			return
		}
	}
}

func (w *watch) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case err := <-w.wake:
		if errors.Is(err, os.ErrClosed) {
			return ctx.Err()
		}
		return err
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watch) close() { w.f.Close() }
