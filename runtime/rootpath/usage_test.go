package rootpath

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	block := strings.Repeat("x", 64<<10)
	for _, d := range []string{"a/b/c", "d"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"one", "a/b/c/two"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "d/again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "d/out")); err != nil {
		t.Fatal(err)
	}
	bytes, inodes, err := Usage(t.Context(), dir)
	if err != nil || inodes != 5+2+1 || bytes < 128<<10 || bytes > 200<<10 {
		t.Errorf("%d bytes, %d inodes, %v", bytes, inodes, err)
	}
}

// TestUsageOfADeepTree: a path deeper than PATH_MAX and than there are descriptors is walked to its end.
func TestUsageOfADeepTree(t *testing.T) {
	const depth = 3000
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := unix.Mkdirat(fd, "directory", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "directory", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	if _, inodes, err := Usage(t.Context(), dir); err != nil || inodes != depth+1 {
		t.Errorf("%d inodes, %v", inodes, err)
	}
}

// TestUsageIsNotLedOut: a directory that is exchanged for a link to a much bigger tree, again and again, adds nothing of that tree.
func TestUsageIsNotLedOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(outside, strings.Repeat("f", i+1)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "d"), unix.AT_FDCWD, filepath.Join(dir, "l"), unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 2000 {
		if _, inodes, _ := Usage(t.Context(), dir); inodes > 3 {
			t.Fatalf("%d inodes were counted in a tree of 3", inodes)
		}
	}
	close(stop)
	wg.Wait()
}
