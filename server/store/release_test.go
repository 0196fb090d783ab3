package store

import (
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// failWrites makes every descriptor of this process that is open on a path with part answer EIO to writes, as a disk does that fails.
func failWrites(t *testing.T, dir, part string) (restore func()) {
	t.Helper()
	broken, err := unix.Open("/proc/self/mem", unix.O_RDWR|unix.O_CLOEXEC, 0) // nothing is mapped at its beginning
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var spares []int
	for _, e := range entries {
		path, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if !strings.HasPrefix(path, dir+"/") || !strings.Contains(path, part) {
			continue
		}
		fd, _ := strconv.Atoi(e.Name())
		// The file itself stays open as well, as it would.
		spare, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		spares = append(spares, spare)
		if err := unix.Dup3(broken, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	if len(spares) == 0 {
		t.Fatalf("nothing below %s is open", dir)
	}
	return func() {
		for _, fd := range append(spares, broken) {
			unix.Close(fd)
		}
	}
}

// TestDiskFails: EIO ends etcd, but neither the process nor the reads, and writes go on when the disk does. No write that was answered is lost.
func TestDiskFails(t *testing.T) {
	for _, part := range []string{"/wal/", "/snap/db"} {
		t.Run(part, func(t *testing.T) {
			dir := t.TempDir()
			s, k, stop := startLogging(t, dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
			ctx := t.Context()
			if _, err := s.Create(ctx, k, numbered(0)); err != nil {
				t.Fatal(err)
			}
			defer failWrites(t, dir, part)()
			failed := s.member.Load()
			_, err := s.Create(ctx, k, numbered(1))
			if part == "/wal/" && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("a write into a disk that fails: %v", err)
			}
			go failed.server.Backend().ForceCommit()
			deadline := time.Now().Add(time.Minute)
			for i := 2; ; i++ {
				if s.Snapshot().Get(k, "a", "p-0") == nil {
					t.Fatal("reads do not go on")
				}
				if _, err = s.Create(ctx, k, numbered(i)); err == nil && s.member.Load() != failed {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("writes do not go on: %v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}
