package rootpath

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Usage adds up what the tree at dir takes: bytes on disk and inodes; a file with several links counts once. What cannot be
// read, or is deleted meanwhile, is left out.
//
// Who writes in the tree may exchange any directory for a link while this runs: every directory is opened below its parent's
// descriptor without following links, and on the way back ".." has to be the parent still. One descriptor is open at a time,
// so no depth exhausts them.
func Usage(ctx context.Context, dir string) (bytes, inodes int64, err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	w := &usage{fd: fd, linked: map[uint64]bool{}}
	defer func() { unix.Close(w.fd) }()
	if err := unix.Fstat(fd, &w.at); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	w.count(&w.at)
	for w.enter(); len(w.above) > 0 && ctx.Err() == nil; {
		here := &w.above[len(w.above)-1]
		if n := len(here.todo); n > 0 {
			name := here.todo[n-1]
			here.todo = here.todo[:n-1]
			if w.down(name) {
				w.enter()
			}
			continue
		}
		w.above = w.above[:len(w.above)-1]
		if len(w.above) > 0 && !w.up(&w.above[len(w.above)-1].st) {
			return w.bytes, w.inodes, fmt.Errorf("the tree %s is moved about", dir)
		}
	}
	return w.bytes, w.inodes, ctx.Err()
}

// usage is a walk that is at the directory fd; above are the directories from the root to it.
type usage struct {
	fd            int
	at            unix.Stat_t
	above         []level
	bytes, inodes int64
	linked        map[uint64]bool
}

type level struct {
	st   unix.Stat_t
	todo []string // directories not entered yet
}

func (u *usage) count(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if u.linked[st.Ino] {
			return
		}
		u.linked[st.Ino] = true
	}
	u.bytes += st.Blocks * 512
	u.inodes++
}

// enter counts what is in the directory and notes its directories.
func (u *usage) enter() {
	l := level{st: u.at}
	buf := make([]byte, 32<<10)
	var names []string
	for {
		n, err := unix.ReadDirent(u.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(u.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			u.count(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev == u.at.Dev { // what is mounted there is somebody else's
				l.todo = append(l.todo, name)
			}
		}
	}
	u.above = append(u.above, l)
}

func (u *usage) down(name string) bool {
	fd, err := unix.Openat(u.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Dev != u.at.Dev {
		unix.Close(fd)
		return false
	}
	unix.Close(u.fd)
	u.fd, u.at = fd, st
	return true
}

func (u *usage) up(to *unix.Stat_t) bool {
	fd, err := unix.Openat(u.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Ino != to.Ino || st.Dev != to.Dev {
		unix.Close(fd)
		return false
	}
	unix.Close(u.fd)
	u.fd, u.at = fd, st
	return true
}
