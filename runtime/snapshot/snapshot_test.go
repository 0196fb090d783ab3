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
			rootfs, err := s.Prepare(ctx, "c1", id, nil)
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
	if err := s.directories(dir, img, true, nil); err != nil {
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
	rootfs, err := s.Prepare(ctx, "c1", id, nil)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(rootfs+"/data", []byte("kept"), 0o644)
	if again, err := s.Prepare(ctx, "c1", id, nil); err != nil || again != rootfs {
		t.Fatal(again, err)
	}
	if n := mounts(t, rootfs); n != 1 {
		t.Errorf("%d mounts", n)
	}
	if _, err := s.Prepare(ctx, "c1", "sha256:other", nil); err == nil || !strings.Contains(err.Error(), id) {
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
	if _, err := s.Prepare(ctx, "c1", id, nil); err != nil {
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
	rootfs, err := s.Prepare(ctx, "c1", id, nil)
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
		if _, err := s.Prepare(ctx, bad, id, nil); err == nil {
			t.Errorf("took the ID %q", bad)
		}
	}
	if _, err := s.Prepare(ctx, "c2", "sha256:none", nil); !errors.Is(err, image.ErrNotFound) {
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

func TestReadAccounts(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	os.MkdirAll(lower+"/usr/etc", 0o755)
	os.Symlink("/usr/etc", upper+"/etc") // absolute: inside the root; its target is in the lower layer
	os.WriteFile(lower+"/usr/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nbad line\n#c:x:7:7\nweb:x:101:102::/:/bin/false\nagain:x:101:1::\nhuge:x:99999999999:1::/:\n"), 0o644)
	os.WriteFile(lower+"/usr/etc/group", []byte("root:x:0:\nweb:x:102:\nlogs:x:7:web,other\nssl:x:8:other,web\nlogs2:x:7:web\nbare:x:9\n"), 0o644)
	a, err := ReadAccounts([]string{lower, upper})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Account{"root": {"root", 0, 0}, "web": {"web", 101, 102}, "huge": {}, "#c": {}, "nobody": {}} {
		if got, ok := a.ByName(name); got != want || ok != (want.Name != "") {
			t.Errorf("%s: %+v %v", name, got, ok)
		}
	}
	if got, ok := a.ByID(101); !ok || got.Name != "web" || got.GID != 102 {
		t.Errorf("101: %+v", got)
	}
	if got := fmt.Sprint(a.Memberships("web"), a.Memberships("root")); got != "[7 8] []" {
		t.Errorf("memberships %s", got)
	}
	for name, want := range map[string]string{"logs": "7 true", "bare": "9 true", "55": "55 true", "nogroup": "0 false", "4294967295": "0 false"} {
		gid, ok := a.Group(name)
		if got := fmt.Sprint(gid, ok); got != want {
			t.Errorf("group %s: %s", name, got)
		}
	}
	if a, err := ReadAccounts([]string{t.TempDir()}); err != nil || len(a.users) != 0 {
		t.Errorf("without files: %+v %v", a, err)
	}
	fifo := t.TempDir()
	os.Mkdir(fifo+"/etc", 0o755)
	unix.Mkfifo(fifo+"/etc/passwd", 0o644)
	if _, err := ReadAccounts([]string{fifo}); err == nil {
		t.Error("read a FIFO as /etc/passwd")
	}
}
