package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// Usage of the writable layer and of the volumes that the image asked for: bytes on disk and inodes. A file with several links
// counts once. The container may run.
func (s *Store) Usage(id string) (bytes, inodes int64, err error) {
	if !idPattern.MatchString(id) {
		return 0, 0, fmt.Errorf("bad snapshot ID %q", id)
	}
	for _, part := range []string{"upper", "volumes"} {
		b, i, err := rootpath.Usage(context.Background(), filepath.Join(s.dir, id, part))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an image volume has no such layer, few images have volumes
			return 0, 0, fmt.Errorf("usage of root filesystem %s: %w", id, err)
		}
		bytes, inodes = bytes+b, inodes+i
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
