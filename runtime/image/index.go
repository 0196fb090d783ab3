package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// index is what index.json holds. What an image's config says is not repeated: it is read from its blob.
type index struct {
	Version int          `json:"version"`
	Images  []indexEntry `json:"images"`
}

type indexEntry struct {
	ID        string   `json:"id"`
	Names     []string `json:"names,omitempty"`
	Digests   []string `json:"digests,omitempty"`
	Manifests []string `json:"manifests,omitempty"`
}

const indexVersion = 1

func (s *Store) indexPath() string { return filepath.Join(s.cfg.Dir, "index.json") }

// load fills s.images from the index; from the one before and the blobs if it is damaged.
func (s *Store) load() error {
	idx, err := readIndex(s.indexPath())
	switch {
	case err == nil:
		s.adopt(idx)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		idx, err = readIndex(s.indexPath() + ".old")
		if errors.Is(err, fs.ErrNotExist) && s.isEmpty() {
			return nil
		}
	default:
		s.log.Warn("image index is damaged; rebuilding it", "err", err)
		if err := os.Rename(s.indexPath(), s.indexPath()+".damaged"); err != nil {
			return fmt.Errorf("setting the damaged index aside: %w", err)
		}
		idx, err = readIndex(s.indexPath() + ".old")
	}
	if err == nil {
		s.adopt(idx)
	}
	s.rebuild()
	return s.save(s.images)
}

func (s *Store) isEmpty() bool {
	blobs, err := os.ReadDir(s.blobDir())
	return err == nil && len(blobs) == 0
}

func readIndex(path string) (*index, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	idx := &index{}
	if err := json.Unmarshal(raw, idx); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if idx.Version != indexVersion {
		return nil, fmt.Errorf("reading %s: version %d is not known", path, idx.Version)
	}
	return idx, nil
}

// adopt takes the images of the index whose config and layers are all there.
func (s *Store) adopt(idx *index) {
	for _, e := range idx.Images {
		cfg, err := s.localConfig(e.ID)
		if err != nil {
			s.log.Warn("dropping a damaged image", "image", e.ID, "names", e.Names, "err", err)
			continue
		}
		img := cfg.image(s)
		img.Names, img.Digests = e.Names, e.Digests
		s.images[e.ID] = &record{image: img, chains: cfg.chains, manifests: e.Manifests}
	}
}

// rebuild finds images whose names are lost: every config blob whose layers are all there.
func (s *Store) rebuild() {
	blobs, _ := os.ReadDir(s.blobDir())
	for _, b := range blobs {
		id := "sha256:" + b.Name()
		if s.images[id] != nil {
			continue
		}
		if cfg, err := s.localConfig(id); err == nil && len(cfg.chains) > 0 {
			s.images[id] = &record{image: cfg.image(s), chains: cfg.chains}
		}
	}
}

// localConfig reads a config from its blob and checks that all its layers are there.
func (s *Store) localConfig(id string) (*imageConfig, error) {
	raw, err := s.readBlob(id)
	if err != nil {
		return nil, err
	}
	cfg, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	for _, chain := range cfg.chains {
		if !s.hasLayer(chain) {
			return nil, fmt.Errorf("layer %s is missing", chain)
		}
	}
	return cfg, nil
}

// save writes the index of images; the one before stays as index.json.old.
func (s *Store) save(images map[string]*record) error {
	idx := index{Version: indexVersion, Images: []indexEntry{}}
	for id, r := range images {
		idx.Images = append(idx.Images, indexEntry{ID: id, Names: r.image.Names, Digests: r.image.Digests, Manifests: r.manifests})
	}
	slices.SortFunc(idx.Images, func(a, b indexEntry) int { return strings.Compare(a.ID, b.ID) })
	raw, err := json.MarshalIndent(idx, "", " ")
	if err != nil {
		return err
	}
	old := s.indexPath() + ".old"
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the image index: %w", err)
	}
	if err := os.Link(s.indexPath(), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the image index: %w", err)
	}
	if err := writeFile(s.indexPath(), append(raw, '\n')); err != nil {
		return explain(fmt.Errorf("writing the image index: %w", err), s.cfg.Dir)
	}
	return nil
}

// writeFile replaces path so that a power cut leaves the old or the new content.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
