package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Usage of the writable layer: bytes on disk and inodes. A file with several links counts once.
func (s *Store) Usage(id string) (bytes, inodes int64, err error) {
	if !idPattern.MatchString(id) {
		return 0, 0, fmt.Errorf("bad snapshot ID %q", id)
	}
	linked := map[uint64]bool{}
	err = filepath.WalkDir(filepath.Join(s.dir, id, "upper"), func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				st := info.Sys().(*syscall.Stat_t)
				if st.Nlink > 1 && !d.IsDir() {
					if linked[st.Ino] {
						return nil
					}
					linked[st.Ino] = true
				}
				bytes += st.Blocks * 512
				inodes++
				return nil
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // deleted while walking
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("usage of root filesystem %s: %w", id, err)
	}
	return bytes, inodes, nil
}

// UsesImage reports whether a snapshot was made from the image.
func (s *Store) UsesImage(imageID string) bool { return UsesImage(s.dir, imageID) }

// UsesImage reports whether a snapshot in dir, which no Store needs to have open, was made from the image.
func UsesImage(dir, imageID string) bool {
	marks, _ := filepath.Glob(filepath.Join(dir, "*", "image"))
	for _, m := range marks {
		if raw, err := os.ReadFile(m); err == nil && string(raw) == imageID {
			return true
		}
	}
	return false
}
