package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	dataLink = "..data"
	dataTemp = "..data_tmp"
)

// writeAtomic makes dir hold exactly the payload. Readers see the old files or the new ones, never both:
//
//	..2026_01_02_15_04_05.123/…   the files
//	..data → ..2026_…              swapped by rename
//	<top> → ..data/<top>           for each first path element
//
// What else is there are mount points of containers (MountPoint); they stay, and hide the files of the same name.
func writeAtomic(dir *os.Root, p payload, gid int) error {
	old, _ := dir.Readlink(dataLink)
	if old != "" && same(dir, old, p) {
		return errors.Join(links(dir, p), sweep(dir, old, p)) // the daemon may have ended in between
	}
	fresh, err := freshDir(dir)
	if err != nil {
		return err
	}
	if err := fill(dir, fresh, p, gid); err != nil {
		return errors.Join(err, dir.RemoveAll(fresh))
	}
	if err := dir.RemoveAll(dataTemp); err != nil {
		return err
	}
	if err := dir.Symlink(fresh, dataTemp); err != nil {
		return err
	}
	if err := dir.Rename(dataTemp, dataLink); err != nil {
		return err
	}
	if err := links(dir, p); err != nil {
		return err
	}
	return sweep(dir, fresh, p)
}

// freshDir makes a directory of a name that is not taken.
func freshDir(dir *os.Root) (name string, err error) {
	prefix := ".." + time.Now().UTC().Format("2006_01_02_15_04_05") + "."
	for n := range 1000 {
		name = prefix + fmt.Sprint(time.Now().UnixNano()%1e9+int64(n))
		if err = dir.Mkdir(name, 0o700); !errors.Is(err, os.ErrExist) {
			break
		}
	}
	return name, err
}

// fill writes the payload into the directory; only root can enter it until all is there.
func fill(dir *os.Root, fresh string, p payload, gid int) error {
	perm := os.FileMode(0o755)
	if gid >= 0 {
		perm |= os.ModeSetgid
		if err := dir.Chown(fresh, -1, gid); err != nil {
			return err
		}
		if err := dir.Chmod(fresh, 0o700|os.ModeSetgid); err != nil {
			return err
		}
	}
	for name, f := range p {
		at := path.Join(fresh, name)
		if err := makeParents(dir, fresh, path.Dir(name), perm, gid); err != nil {
			return err
		}
		if err := dir.WriteFile(at, f.data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if f.uid >= 0 || gid >= 0 {
			if err := dir.Chown(at, int(f.uid), gid); err != nil {
				return err
			}
		}
		if err := dir.Chmod(at, os.FileMode(f.mode&0o777)|special(f.mode)); err != nil {
			return err
		}
	}
	return dir.Chmod(fresh, perm)
}

// makeParents makes the directories of a file, whatever the daemon's umask is.
func makeParents(dir *os.Root, fresh, name string, perm os.FileMode, gid int) error {
	if name == "." {
		return nil
	}
	if err := makeParents(dir, fresh, path.Dir(name), perm, gid); err != nil {
		return err
	}
	at := path.Join(fresh, name)
	if err := dir.Mkdir(at, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	if gid >= 0 {
		if err := dir.Chown(at, -1, gid); err != nil {
			return err
		}
	}
	return dir.Chmod(at, perm)
}

func special(mode uint32) (m os.FileMode) {
	if mode&0o4000 != 0 {
		m |= os.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= os.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= os.ModeSticky
	}
	return m
}

// same says whether the directory holds exactly the payload.
func same(dir *os.Root, data string, p payload) bool {
	if filepath.Base(data) != data {
		return false
	}
	in, err := dir.OpenRoot(data)
	if err != nil {
		return false
	}
	defer in.Close()
	n := 0
	err = fs.WalkDir(in.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		f, ok := p[name]
		if !ok || !sameFile(in, name, f) {
			return os.ErrExist
		}
		return nil
	})
	return err == nil && n == len(p)
}

func sameFile(in *os.Root, name string, f file) bool {
	st, err := in.Lstat(name)
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != os.FileMode(f.mode&0o777) || st.Size() != int64(len(f.data)) {
		return false
	}
	data, err := in.ReadFile(name)
	return err == nil && bytes.Equal(data, f.data)
}

func top(name string) string { first, _, _ := strings.Cut(name, "/"); return first }

// links makes the names that users see.
func links(dir *os.Root, p payload) error {
	for name := range p {
		link, want := top(name), path.Join(dataLink, top(name))
		switch have, err := dir.Readlink(link); {
		case err == nil && have == want:
			continue
		case err == nil:
			if err := dir.Remove(link); err != nil {
				return err
			}
		case !errors.Is(err, os.ErrNotExist):
			continue // a container's mount point
		}
		if err := dir.Symlink(want, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// sweep removes links that are no longer in the payload, and directories of older payloads.
func sweep(dir *os.Root, keep string, p payload) error {
	names := map[string]bool{dataLink: true, keep: true}
	for n := range p {
		names[top(n)] = true
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if names[e.Name()] || e.Type()&fs.ModeSymlink == 0 && !strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if err := dir.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
