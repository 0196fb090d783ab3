package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVolumes: each path gets a folder with what the image has there, whatever links the image lays, and nothing of the host's.
func TestVolumes(t *testing.T) {
	s, id := setup(t, 2)
	secret := t.TempDir()
	if err := os.WriteFile(secret+"/secret", []byte("the host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	top := s.images.Get(id).Layers[1]
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(top+"/data/sub", 0o755))
	check(os.WriteFile(top+"/data/sub/file", []byte("content"), 0o640))
	check(os.Chown(top+"/data/sub/file", 7, 8))
	check(unix.Setxattr(top+"/data/sub/file", "user.a", []byte("b"), 0))
	check(os.Symlink(secret, top+"/data/link"))
	check(unix.Mkfifo(top+"/data/fifo", 0o600))
	check(os.Chown(top+"/data", 5, 6))
	check(unix.Chmod(top+"/data", 0o1770))
	check(os.Symlink("/data", top+"/here")) // inside the image
	check(os.Symlink(secret, top+"/there")) // outside of it
	_, err := s.Prepare(context.Background(), "c", id, nil)
	check(err)
	for range 2 { // the second time finds them made
		got, err := s.Volumes(context.Background(), "c", []string{"/data/", "data", "/new/deep", "/last", "/here", "/there", "/"})
		check(err)
		if len(got) != 4 || got["/last"] != "" || got["/"] != "" {
			t.Fatalf("volumes %v", got)
		}
		for _, p := range []string{"/data", "/here"} {
			d, f := stat(t, got[p]), stat(t, got[p]+"/sub/file")
			if d.Mode&0o7777 != 0o1770 || d.Uid != 5 || d.Gid != 6 || f.Mode&0o7777 != 0o640 || f.Uid != 7 || f.Gid != 8 {
				t.Errorf("%s: %o %d:%d, its file %o %d:%d", p, d.Mode, d.Uid, d.Gid, f.Mode, f.Uid, f.Gid)
			}
			if text, err := os.ReadFile(got[p] + "/sub/file"); string(text) != "content" || err != nil {
				t.Errorf("%s: %q %v", p, text, err)
			}
			if to, err := os.Readlink(got[p] + "/link"); to != secret || err != nil {
				t.Errorf("%s: the link leads to %s, %v", p, to, err)
			}
			value := make([]byte, 8)
			if n, _ := unix.Getxattr(got[p]+"/sub/file", "user.a", value); n != 1 {
				t.Errorf("%s: the attribute is gone", p)
			}
		}
		for _, p := range []string{"/new/deep", "/there"} {
			if entries, err := os.ReadDir(got[p]); len(entries) != 0 || err != nil {
				t.Errorf("%s has %v, %v", p, entries, err)
			}
		}
	}
	if bytes, _, err := s.Usage("c"); bytes == 0 || err != nil {
		t.Errorf("usage %d, %v", bytes, err)
	}
	check(s.Remove(context.Background(), "c"))
	if left, _ := filepath.Glob(s.dir + "/*c*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func stat(t *testing.T, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}
