package beneath

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a place with an outside that must not change.
type world struct {
	*testing.T
	in, out string
	place   *Place
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t, filepath.Join(dir, "in"), filepath.Join(dir, "out"), nil}
	w.mkdir(w.in, w.out)
	w.write(filepath.Join(w.out, "canary"), "canary")
	w.must(os.Chmod(w.out, 0o700))
	var err error
	w.place, err = Open(w.in)
	w.must(err)
	t.Cleanup(func() {
		w.place.Close()
		entries, _ := os.ReadDir(w.out)
		st, _ := os.Stat(filepath.Join(w.out, "canary"))
		dir, _ := os.Stat(w.out)
		data, _ := os.ReadFile(filepath.Join(w.out, "canary"))
		if len(entries) != 1 || st.Mode() != 0o600 || dir.Mode().Perm() != 0o700 || string(data) != "canary" {
			t.Errorf("the outside was changed: %v, %v, %v, %q", entries, st.Mode(), dir.Mode(), data)
		}
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) mkdir(paths ...string) {
	w.Helper()
	for _, p := range paths {
		w.must(os.MkdirAll(p, 0o755))
	}
}

func (w *world) write(path, data string) { w.Helper(); w.must(os.WriteFile(path, []byte(data), 0o600)) }

func (w *world) link(to, name string) { w.Helper(); w.must(os.Symlink(to, filepath.Join(w.in, name))) }

func TestNothingLeadsOut(t *testing.T) {
	w := newWorld(t)
	w.link(w.out, "abs")
	w.link("../out", "rel")
	w.link("/proc/self/root"+w.out, "magic")
	w.mkdir(w.in + "/dir")
	w.link("dir", "fine")
	for _, links := range []Links{NoLinks, LinksInside} {
		for _, bad := range []string{"abs", "abs/canary", "rel", "rel/canary", "magic", "..", "../out", "dir/../../out", "/etc", ""} {
			if p, err := w.place.At(bad, links); err == nil {
				t.Errorf("%q leads to %s", bad, p.name)
			}
			if p, err := w.place.MkdirAll(bad+"/new", links, 0o755, nil); err == nil && bad != "" {
				t.Errorf("%q leads to %s", bad, p.name)
			}
			if _, err := w.place.ReadFile(bad, links, 100); err == nil {
				t.Errorf("%q was read", bad)
			}
		}
	}
	if err := w.place.WriteFile("abs", []byte("x"), 0o600); err == nil {
		t.Error("wrote through a link")
	}
	if p, err := w.place.At("fine", LinksInside); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
	if _, err := w.place.At("fine", NoLinks); err == nil {
		t.Error("followed a link that was not wanted")
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	w := newWorld(t)
	w.must(unix.Mkfifo(filepath.Join(w.in, "fifo"), 0o600))
	w.mkdir(filepath.Join(w.in, "dir"))
	w.write(filepath.Join(w.in, "long"), strings.Repeat("x", 100))
	names := []string{"fifo", "dir"}
	if unix.Mknod(filepath.Join(w.in, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil {
		names = append(names, "null")
	}
	for _, n := range names {
		if _, err := w.place.ReadFile(n, NoLinks, 10); !errors.Is(err, ErrNotRegular) {
			t.Errorf("read %s: %v", n, err)
		}
		if err := w.place.WriteFile(n, nil, 0o600); !errors.Is(err, ErrNotRegular) {
			t.Errorf("write %s: %v", n, err)
		}
	}
	data, err := w.place.ReadFile("long", NoLinks, 10)
	if len(data) != 10 || !errors.Is(err, ErrTooLong) {
		t.Errorf("a long file: %d bytes, %v", len(data), err)
	}
}

func TestMkdirAllMode(t *testing.T) {
	w := newWorld(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	d, err := w.place.MkdirAll("a/b/c", NoLinks, 0o777, nil)
	w.must(err)
	d.Close()
	for _, n := range []string{"a", "a/b", "a/b/c"} {
		if st, err := os.Stat(filepath.Join(w.in, n)); err != nil || st.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v, %v", n, st, err)
		}
	}
}

// deep makes a chain of directories that no path can name.
func deep(t *testing.T, in string, levels int) {
	fd, err := unix.Open(in, unix.O_DIRECTORY, 0)
	for range levels {
		if err == nil {
			err = unix.Mkdirat(fd, "d", 0o755)
		}
		if err == nil {
			var next int
			next, err = unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
			unix.Close(fd)
			fd = next
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestDeepTrees(t *testing.T) {
	w := newWorld(t)
	tree := filepath.Join(w.in, "tree")
	w.mkdir(tree)
	deep(t, tree, MaxDepth+300)
	w.must(os.Symlink(w.out, filepath.Join(tree, "d", "d", "link")))
	p, err := w.place.At("tree", NoLinks)
	w.must(err)
	defer p.Close()
	if err := p.Walk(context.Background(), func(*Entry) error { return nil }); !errors.Is(err, ErrTooDeep) {
		t.Errorf("walk: %v", err)
	}
	w.must(w.place.RemoveAll("tree"))
	if _, err := os.Lstat(tree); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestRemoveAllLeavesMountsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	w := newWorld(t)
	w.mkdir(filepath.Join(w.in, "tree", "a", "mnt"))
	w.write(filepath.Join(w.in, "tree", "a", "file"), "")
	w.must(unix.Mount(w.out, filepath.Join(w.in, "tree", "a", "mnt"), "", unix.MS_BIND, ""))
	defer unix.Unmount(filepath.Join(w.in, "tree", "a", "mnt"), unix.MNT_DETACH)
	if err := w.place.RemoveAll("tree"); err == nil {
		t.Error("removed a tree with a mount in it")
	}
	w.must(w.place.Unmount("tree/a/mnt"))
	w.must(w.place.RemoveAll("tree"))
}

// TestSwaps: while somebody exchanges directories for links, nothing outside is touched, whatever the operations return.
func TestSwaps(t *testing.T) {
	w := newWorld(t)
	w.mkdir(filepath.Join(w.in, "a"), filepath.Join(w.in, "real"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		a := filepath.Join(w.in, "a")
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.RemoveAll(a)
			os.Symlink(w.out, a)
			os.Remove(a)
			os.Mkdir(a, 0o755)
			os.WriteFile(a+"/canary", nil, 0o644)
		}
	}()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if d, err := w.place.MkdirAll("a/new/deep", LinksInside, 0o777, nil); err == nil {
			d.Close()
		}
		_ = w.place.Walk(context.Background(), func(e *Entry) error {
			if e.Name() != "canary" {
				return nil
			}
			_ = e.Lchown(-1, 4242)
			if p, err := e.Place(); err == nil {
				_ = p.Chmod(0o666)
				p.Close()
			}
			return nil
		})
		if data, _ := w.place.ReadFile("a/canary", LinksInside, 100); string(data) == "canary" {
			t.Error("read the canary")
		}
		_ = w.place.RemoveAll("a")
	}
	close(stop)
	<-done
}
