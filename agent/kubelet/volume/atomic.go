package volume

import (
	"bytes"
	"fmt"
	"os"
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
//	dir/..2026_01_02_15_04_05.123/…   the files
//	dir/..data → ..2026_…              swapped by rename
//	dir/<top> → ..data/<top>           for each first path element
func writeAtomic(dir string, p payload, gid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	if old != "" && same(filepath.Join(dir, old), p) {
		return links(dir, p)
	}
	fresh, err := os.MkdirTemp(dir, ".."+time.Now().UTC().Format("2006_01_02_15_04_05")+".")
	if err != nil {
		return err
	}
	if err := fill(fresh, p, gid); err != nil {
		os.RemoveAll(fresh)
		return err
	}
	tmp := filepath.Join(dir, dataTemp)
	os.Remove(tmp)
	if err := os.Symlink(filepath.Base(fresh), tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := links(dir, p); err != nil {
		return err
	}
	return sweep(dir, filepath.Base(fresh), p)
}

func fill(dir string, p payload, gid int) error {
	perm := os.FileMode(0o755)
	if gid >= 0 {
		perm |= os.ModeSetgid
	}
	if err := os.Chmod(dir, perm); err != nil {
		return err
	}
	if gid >= 0 {
		if err := os.Chown(dir, -1, gid); err != nil {
			return err
		}
	}
	for name, f := range p {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if f.uid >= 0 || gid >= 0 {
			if err := os.Chown(path, int(f.uid), gid); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, os.FileMode(f.mode&0o777)|special(f.mode)); err != nil {
			return err
		}
	}
	return nil
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
func same(dir string, p payload) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := p[rel]
		if !ok {
			return os.ErrExist
		}
		st, err := d.Info()
		if err != nil || st.Mode().Perm() != os.FileMode(f.mode&0o777) {
			return os.ErrExist
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, f.data) {
			return os.ErrExist
		}
		return nil
	})
	return err == nil && n == len(p)
}

func top(name string) string { first, _, _ := strings.Cut(name, "/"); return first }

// links makes the names that users see.
func links(dir string, p payload) error {
	for name := range p {
		link := filepath.Join(dir, top(name))
		want := filepath.Join(dataLink, top(name))
		if have, err := os.Readlink(link); err == nil && have == want {
			continue
		}
		os.Remove(link)
		if err := os.Symlink(want, link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// sweep removes names that are no longer in the payload and old directories.
func sweep(dir, keep string, p payload) error {
	names := map[string]bool{dataLink: true, keep: true}
	for n := range p {
		names[top(n)] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !names[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
