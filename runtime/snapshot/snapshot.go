package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// Images finds images; *image.Store is one.
type Images interface{ Get(ref string) *image.Image }

// Store implements container.Snapshotter. Safe for concurrent use by different container IDs.
type Store struct {
	dir    string
	images Images
	mu     sync.Mutex
	busy   map[string]*sync.Mutex // by ID: calls for one snapshot are serialised
	byPage atomic.Bool            // see overlay

	reached func(step string) // of tests that crash between two writes; nil otherwise
}

func (s *Store) step(name string) {
	if s.reached != nil {
		s.reached(name)
	}
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)

// Open checks for overlayfs and removes half-made snapshots.
func Open(dir string, images *image.Store) (*Store, error) { return open(dir, images) }

func open(dir string, images Images) (*Store, error) {
	s := &Store{dir: dir, images: images, busy: map[string]*sync.Mutex{}}
	for _, d := range []string{"0", "1"} {
		if err := os.MkdirAll(filepath.Join(dir, "empty", d), 0o755); err != nil {
			return nil, fmt.Errorf("opening the snapshots: %w", err)
		}
	}
	if err := hasOverlay(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "empty" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, name, "image")); strings.HasPrefix(name, ".rm-") || errors.Is(err, fs.ErrNotExist) {
			if err := s.destroy(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("removing the half-made snapshot %s: %w", name, err)
			}
		}
	}
	return s, nil
}

// hasOverlay asks the kernel, which loads the module if it must.
func hasOverlay() error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		if raw, rerr := os.ReadFile("/proc/filesystems"); rerr == nil && strings.Contains(string(raw), "\toverlay\n") {
			return nil
		}
	}
	return fmt.Errorf("this kernel has no overlayfs (try: modprobe overlay): %w", err)
}

// List returns the IDs of all snapshots, so that the caller can remove those it does not know.
func (s *Store) List() []string {
	entries, _ := os.ReadDir(s.dir)
	var ids []string
	for _, e := range entries {
		if e.Name() != "empty" && idPattern.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

// lock serialises the calls for one snapshot.
func (s *Store) lock(id string) (unlock func(), err error) {
	if !idPattern.MatchString(id) || id == "empty" {
		return nil, fmt.Errorf("bad snapshot ID %q", id)
	}
	s.mu.Lock()
	m := s.busy[id]
	if m == nil {
		m = &sync.Mutex{}
		s.busy[id] = m
	}
	s.mu.Unlock()
	m.Lock()
	return m.Unlock, nil
}

// Prepare mounts a writable root filesystem of the image and returns its path. With users the image's owners are shifted to the
// user namespace's, and what is written has its ids. Idempotent.
func (s *Store) Prepare(ctx context.Context, id, imageID string, users *rootpath.Users) (string, error) {
	return s.prepare(ctx, id, imageID, true, users)
}

// View mounts an image read-only (image volumes). Idempotent. Remove undoes it.
func (s *Store) View(ctx context.Context, id, imageID string) (string, error) {
	return s.prepare(ctx, id, imageID, false, nil)
}

func (s *Store) prepare(ctx context.Context, id, imageID string, writable bool, users *rootpath.Users) (string, error) {
	unlock, err := s.lock(id)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	rootfs, err := s.mount(id, imageID, writable, users)
	if err != nil {
		return "", fmt.Errorf("making the root filesystem %s of image %s: %w", id, imageID, err)
	}
	return rootfs, nil
}

func (s *Store) mount(id, imageID string, writable bool, users *rootpath.Users) (string, error) {
	dir := filepath.Join(s.dir, id)
	rootfs := filepath.Join(dir, "rootfs")
	made, err := os.ReadFile(filepath.Join(dir, "image"))
	switch {
	case err == nil && string(made) != imageID:
		return "", fmt.Errorf("it exists and was made from image %s", made)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if mounted, err := isMounted(rootfs); err != nil || mounted {
		return rootfs, err
	}
	img := s.images.Get(imageID)
	if img == nil {
		return "", fmt.Errorf("the image: %w", image.ErrNotFound)
	}
	s.step("prepare: nothing is made")
	if err := s.directories(dir, img, writable, users); err != nil {
		return "", err
	}
	s.step("prepare: the directories are made")
	o := overlay{dir: dir, empty: filepath.Join(s.dir, "empty"), lower: img.Layers, writable: writable, users: users, byPage: &s.byPage}
	if err := o.mount(); err != nil {
		return "", fmt.Errorf("mounting %d layers: %w", len(img.Layers), err)
	}
	s.step("prepare: it is mounted")
	if made == nil {
		if err := os.WriteFile(filepath.Join(dir, "image"), []byte(imageID), 0o600); err != nil {
			return "", err
		}
	}
	s.step("prepare: it is marked")
	return rootfs, nil
}

// directories makes what is missing. The writable layer's top directory is the root of the container, so it takes owner
// and mode of the image's.
func (s *Store) directories(dir string, img *image.Image, writable bool, users *rootpath.Users) error {
	for _, d := range []string{dir, filepath.Join(dir, "rootfs")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return err
		}
	}
	if !writable {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "work"), 0o700); err != nil {
		return err
	}
	s.step("prepare: the work directory is made")
	upper := filepath.Join(dir, "upper")
	if err := os.Mkdir(upper, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	mode, uid, gid := uint32(0o755), 0, 0
	if n := len(img.Layers); n > 0 {
		var st unix.Stat_t
		if err := unix.Stat(img.Layers[n-1], &st); err != nil {
			return fmt.Errorf("reading layer %s: %w", img.Layers[n-1], err)
		}
		mode, uid, gid = st.Mode&0o7777, int(st.Uid), int(st.Gid)
	}
	if users != nil {
		uid, gid = uid+int(users.Base), gid+int(users.Base)
	}
	if err := os.Chown(upper, uid, gid); err != nil {
		return err
	}
	return unix.Chmod(upper, mode)
}

// isMounted: an overlay has a device number of its own.
func isMounted(path string) (bool, error) {
	var st, parent unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err == nil {
		err = unix.Lstat(filepath.Dir(path), &parent)
	}
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return st.Dev != parent.Dev, nil
}

// Remove unmounts and deletes. Idempotent.
func (s *Store) Remove(ctx context.Context, id string) error {
	unlock, err := s.lock(id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.destroy(filepath.Join(s.dir, id)); err != nil {
		return fmt.Errorf("removing the root filesystem %s: %w", id, err)
	}
	s.mu.Lock()
	delete(s.busy, id)
	s.mu.Unlock()
	return nil
}

// destroy unmounts, lazily if somebody still has a file open, and deletes. The rename first makes a crash in between
// visible to the next Open.
func (s *Store) destroy(dir string) error {
	for range 64 { // a crash between checks can have stacked mounts
		err := unix.Unmount(filepath.Join(dir, "rootfs"), unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(filepath.Join(dir, "rootfs"), unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("unmounting: %w", err)
		}
	}
	s.step("remove: it is unmounted")
	aside := dir
	if !strings.HasPrefix(filepath.Base(dir), ".rm-") {
		aside = filepath.Join(s.dir, ".rm-"+filepath.Base(dir))
		if err := os.Rename(dir, aside); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			aside = dir
		}
	}
	s.step("remove: it is set aside")
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	s.step("remove: it is gone")
	return nil
}
