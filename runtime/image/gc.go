package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keepUnused is how long what an interrupted pull left behind waits for its continuation.
const keepUnused = 24 * time.Hour

// Remove forgets a name, or with an ID all names, and deletes layers that no image uses any more. inUse reports the IDs of
// images that pods use; they and mounted ones are kept and ErrInUse returned. Forgetting one name of several is always allowed.
func (s *Store) Remove(ctx context.Context, ref string, inUse func(id string) bool) error {
	s.mu.Lock()
	r := s.find(ref)
	if r == nil {
		s.mu.Unlock()
		return fmt.Errorf("removing image %s: %w", ref, ErrNotFound)
	}
	left := r.with(func(i *Image) { forget(i, ref) })
	gone := len(left.image.Names) == 0 && len(left.image.Digests) == 0
	if gone && (inUse != nil && inUse(r.image.ID) || isMounted(r.chains)) {
		s.mu.Unlock()
		return fmt.Errorf("removing image %s: %w by a pod", ref, ErrInUse)
	}
	next := make(map[string]*record, len(s.images))
	for id, old := range s.images {
		next[id] = old
	}
	next[r.image.ID] = left
	if gone {
		delete(next, r.image.ID)
	}
	if err := s.save(next); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("removing image %s: %w", ref, err)
	}
	s.images = next
	doomed := s.setAside(s.unused(0))
	s.mu.Unlock()
	return removeAll(doomed)
}

// forget takes ref from the image: everything, or one name, and with the last name of a repository its digests.
func forget(i *Image, ref string) {
	parsed, err := ParseReference(ref)
	if err != nil || strings.TrimPrefix(ref, "sha256:") == hexOf(i.ID) {
		i.Names, i.Digests = nil, nil
		return
	}
	if parsed.Digest == "" {
		i.Names = without(i.Names, parsed.Name())
	}
	repo := parsed.Repository()
	for _, n := range i.Names {
		if strings.HasPrefix(n, repo+":") {
			return
		}
	}
	i.Digests = slices.DeleteFunc(i.Digests, func(d string) bool { return strings.HasPrefix(d, repo+"@") })
}

// unused lists layer directories and blobs that no image has, no pull needs, and that are older than age.
func (s *Store) unused(age time.Duration) []string {
	keep := map[string]bool{}
	for _, r := range s.images {
		keep[s.blobPath(r.image.ID)] = true
		for _, c := range r.chains {
			keep[s.layerDir(c)] = true
		}
		for _, m := range r.manifests {
			keep[s.blobPath(m)] = true
		}
	}
	for c := range s.pins {
		keep[s.layerDir(c)] = true
	}
	dirs := []string{s.layerRoot()}
	if len(s.pins) == 0 { // the blobs of a running pull are not known here; the next Remove or Open gets them
		dirs = append(dirs, s.blobDir())
	}
	var out []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			p := filepath.Join(dir, e.Name())
			if keep[p] || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if st, err := e.Info(); err == nil && time.Since(st.ModTime()) >= age {
				out = append(out, p)
			}
		}
	}
	return out
}

// setAside renames layers so that nobody finds them half deleted. It needs s.mu, so that no pull takes them up.
func (s *Store) setAside(paths []string) []string {
	for i, p := range paths {
		aside := filepath.Join(s.layerRoot(), ".rm-"+filepath.Base(p))
		if os.Rename(p, aside) == nil {
			paths[i] = aside
		}
	}
	return paths
}

func removeAll(paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}

// sweep removes what crashes left, at Open.
func (s *Store) sweep() {
	var old []string
	entries, _ := os.ReadDir(s.layerRoot())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			old = append(old, filepath.Join(s.layerRoot(), e.Name()))
		}
	}
	entries, _ = os.ReadDir(s.ingestDir())
	for _, e := range entries {
		st, err := e.Info()
		if strings.HasPrefix(e.Name(), ".") || err == nil && time.Since(st.ModTime()) > keepUnused {
			old = append(old, filepath.Join(s.ingestDir(), e.Name()))
		}
	}
	old = append(old, s.setAside(s.unused(keepUnused))...)
	if err := removeAll(old); err != nil {
		s.log.Warn("cleaning the image store", "err", err)
	}
}

// Usage of the store in bytes on disk, by the recorded sizes of its layers: nothing is walked.
func (s *Store) Usage() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total int64
	seen := map[string]bool{}
	for _, r := range s.images {
		for _, c := range r.chains {
			if !seen[c] {
				seen[c] = true
				total += s.layerSize(c)
			}
		}
	}
	for _, dir := range []string{s.blobDir(), s.ingestDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return 0, fmt.Errorf("image store usage: %w", err)
		}
		for _, e := range entries {
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, fmt.Errorf("image store usage: %w", err)
			}
			total += st.Size()
		}
	}
	return total, nil
}
