package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/image"
)

type fakeImages map[string]*image.Image

func (f fakeImages) Get(ref string) *image.Image { return f[ref] }

// setup makes an image of n layers, each with a file named by its number and one that all overwrite.
func setup(t *testing.T, n int) (*Store, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts overlayfs")
	}
	base := t.TempDir()
	img := &image.Image{ID: "sha256:test"}
	for i := range n {
		dir := filepath.Join(base, "layers", fmt.Sprintf("%064d", i), "fs")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{fmt.Sprint(i), "last"} {
			os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprint(i)), 0o644)
		}
		os.Chmod(dir, 0o755|os.ModeSticky)
	}
	for i := range n {
		img.Layers = append(img.Layers, filepath.Join(base, "layers", fmt.Sprintf("%064d", i), "fs"))
	}
	dir := filepath.Join(base, "snapshots")
	s, err := open(dir, fakeImages{img.ID: img})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, id := range s.List() {
			if err := s.Remove(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
	})
	return s, img.ID
}

func TestPrepare(t *testing.T) {
	for _, n := range []int{0, 1, 2, 130, 400} {
		t.Run(fmt.Sprint(n, " layers"), func(t *testing.T) {
			s, id := setup(t, n)
			ctx := context.Background()
			rootfs, err := s.Prepare(ctx, "c1", id)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				if got, _ := os.ReadFile(rootfs + "/last"); string(got) != fmt.Sprint(n-1) {
					t.Errorf("last is %q", got)
				}
				if _, err := os.Stat(rootfs + "/0"); err != nil {
					t.Error(err)
				}
				if st, _ := os.Stat(rootfs); st.Mode()&os.ModeSticky == 0 {
					t.Errorf("root directory's mode %v", st.Mode())
				}
			}
			if err := os.WriteFile(rootfs+"/new", []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			view, err := s.View(ctx, "v1", id)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(view+"/new", nil, 0o644); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing to a view: %v", err)
			}
		})
	}
}

// TestOldKernel mounts the way that kernels before 6.5 need.
func TestOldKernel(t *testing.T) {
	s, id := setup(t, 200)
	img := s.images.Get(id)
	dir := filepath.Join(s.dir, "old")
	if err := s.directories(dir, img, true); err != nil {
		t.Fatal(err)
	}
	o := overlay{dir: dir, empty: filepath.Join(s.dir, "empty"), lower: img.Layers, writable: true}
	if err := o.mountByPage(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(dir + "/rootfs/last"); string(got) != "199" {
		t.Errorf("last is %q", got)
	}
}

func TestIdempotentAndSurvives(t *testing.T) {
	s, id := setup(t, 2)
	ctx := context.Background()
	rootfs, err := s.Prepare(ctx, "c1", id)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(rootfs+"/data", []byte("kept"), 0o644)
	if again, err := s.Prepare(ctx, "c1", id); err != nil || again != rootfs {
		t.Fatal(again, err)
	}
	if n := mounts(t, rootfs); n != 1 {
		t.Errorf("%d mounts", n)
	}
	if _, err := s.Prepare(ctx, "c1", "sha256:other"); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("another image: %v", err)
	}
	// A reboot: the mount is gone, the directories are not; a daemon opens the store anew.
	if err := unix.Unmount(rootfs, 0); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(s.dir, "half")
	os.MkdirAll(half+"/upper", 0o755)
	s, err = open(s.dir, s.images)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Error("the half-made snapshot is still there")
	}
	if _, err := s.Prepare(ctx, "c1", id); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(rootfs + "/data"); string(got) != "kept" {
		t.Errorf("after a reboot: %q", got)
	}
	if !reflect.DeepEqual(s.List(), []string{"c1"}) {
		t.Errorf("%v", s.List())
	}
	bytes, inodes, err := s.Usage("c1")
	if err != nil || inodes != 2 || bytes < 4096 {
		t.Errorf("usage %d bytes %d inodes %v", bytes, inodes, err)
	}
}

func TestRemoveWhileBusy(t *testing.T) {
	s, id := setup(t, 1)
	ctx := context.Background()
	rootfs, err := s.Prepare(ctx, "c1", id)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(rootfs + "/open")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		if err := s.Remove(ctx, "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if mounts(t, rootfs) != 0 {
		t.Error("still mounted")
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
	for _, bad := range []string{"", "..", "a/b", ".rm-x", "empty"} {
		if _, err := s.Prepare(ctx, bad, id); err == nil {
			t.Errorf("took the ID %q", bad)
		}
	}
	if _, err := s.Prepare(ctx, "c2", "sha256:none"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no image: %v", err)
	}
}

func mounts(t *testing.T, path string) int {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(raw), " "+path+" ")
}

func TestResolveUser(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(root+"/usr/etc", 0o755)
	os.Symlink("/usr/etc", root+"/etc") // absolute: inside the root
	os.WriteFile(root+"/usr/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nbad line\n#c\nweb:x:101:102::/:/bin/false\nhuge:x:99999999999:1::/:\n"), 0o644)
	os.WriteFile(root+"/usr/etc/group", []byte("root:x:0:\nweb:x:102:\nlogs:x:7:web,other\nssl:x:8:other,web\n"), 0o644)
	for user, want := range map[string]string{
		"": "0 0 []", "web": "101 102 [7 8]", "101": "101 102 [7 8]", "web:logs": "101 7 []", "web:55": "101 55 []",
		"1234": "1234 0 []", "1234:5": "1234 5 []", "root": "0 0 []", ":logs": "0 7 []",
		"nobody": "no such user", "web:nogroup": "no group", "-1": "no such user", "huge": "no such user", "4294967295": "no such user",
	} {
		uid, gid, groups, err := ResolveUser(root, user)
		if got := fmt.Sprint(uid, gid, groups); err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
			t.Errorf("%q: %s, %v; want %s", user, got, err, want)
		}
	}
	empty := t.TempDir()
	if uid, gid, _, err := ResolveUser(empty, "1000:1000"); uid != 1000 || gid != 1000 || err != nil {
		t.Errorf("without passwd: %d %d %v", uid, gid, err)
	}
	os.Mkdir(empty+"/etc", 0o755)
	unix.Mkfifo(empty+"/etc/passwd", 0o644)
	if _, _, _, err := ResolveUser(empty, "1000"); err == nil {
		t.Error("read a FIFO as /etc/passwd")
	}
}
