package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Import reads a docker-archive or an OCI archive (tar, optionally gzip or zstd).
func (s *Store) Import(ctx context.Context, r io.Reader) ([]*Image, error) {
	images, err := s.importFrom(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("importing an image archive: %w", err)
	}
	return images, nil
}

func (s *Store) importFrom(ctx context.Context, r io.Reader) ([]*Image, error) {
	file, done, err := s.spool(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	a, err := readArchive(file)
	if err != nil {
		return nil, err
	}
	list, err := a.images(s.platform)
	if err != nil {
		return nil, err
	}
	var out []*Image
	for _, ai := range list {
		img, err := s.importImage(ctx, ai)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", ai, err)
		}
		out = append(out, img)
	}
	return out, nil
}

func (s *Store) importImage(ctx context.Context, ai *archiveImage) (*Image, error) {
	cfg, err := parseConfig(ai.config)
	if err != nil {
		return nil, err
	}
	if len(cfg.chains) != len(ai.layers) {
		return nil, corrupt("the manifest has %d layers, the config %d", len(ai.layers), len(cfg.chains))
	}
	defer s.pin(cfg.chains)()
	err = s.ensureLayers(ctx, cfg, func(ctx context.Context, i int, use func(io.Reader) error) error {
		release, err := acquire(ctx, s.unpacking)
		if err != nil {
			return err
		}
		defer release()
		return use(ai.layers[i]())
	})
	if err != nil {
		return nil, err
	}
	names := ai.names
	if len(names) == 0 {
		names = []string{""}
	}
	var img *Image
	for _, n := range names {
		var digests []string
		if ref, err := ParseReference(n); err == nil && ai.digest != "" {
			digests = []string{ref.Repository() + "@" + ai.digest}
		}
		if img, err = s.register(ctx, cfg, ai.config, ai.manifests, n, digests); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// spool makes the archive a plain tar that can be read at any place: a regular file is taken as it is, a stream or a
// compressed archive goes to a temporary file, because what names the images comes last in it.
func (s *Store) spool(ctx context.Context, r io.Reader) (f *os.File, done func(), err error) {
	if f, ok := r.(*os.File); ok {
		var head [4]byte
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			if _, err := f.ReadAt(head[:], 0); err == nil && head[0] != 0x1f && head[0] != 0x28 && head[1] != 0x2a {
				return f, func() {}, nil
			}
		}
	}
	tmp, err := os.CreateTemp(s.ingestDir(), ".archive-*")
	if err != nil {
		return nil, nil, explain(err, s.cfg.Dir)
	}
	os.Remove(tmp.Name()) // the open file is all that is needed, and a crash leaves nothing
	defer func() {
		if err != nil {
			tmp.Close()
		}
	}()
	d, end, err := decompressor(&sticky{r: r, ctx: ctx})
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if _, err := io.Copy(tmp, d); err != nil {
		return nil, nil, explain(fmt.Errorf("reading the archive: %w", err), s.cfg.Dir)
	}
	return tmp, func() { tmp.Close() }, nil
}

// archive is an opened image archive: where in it each file is.
type archive struct {
	r     io.ReaderAt
	files map[string]span
	links map[string]string
}

type span struct{ off, size int64 }

// maxArchiveFiles bounds the memory of the table of contents.
const maxArchiveFiles = 100_000

func readArchive(f *os.File) (*archive, error) {
	a := &archive{r: f, files: map[string]span{}, links: map[string]string{}}
	section := io.NewSectionReader(f, 0, 1<<62)
	tr := tar.NewReader(section)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, corrupt("reading the archive: %w", err)
		}
		if len(a.files)+len(a.links) > maxArchiveFiles {
			return nil, corrupt("the archive has more than %d files", maxArchiveFiles)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			off, err := section.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			a.files[name] = span{off, h.Size}
		case tar.TypeSymlink: // old docker archives: a layer that two images share
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		}
	}
}

func (a *archive) open(name string) (*io.SectionReader, error) {
	name = path.Clean(name)
	for range 8 {
		if f, ok := a.files[name]; ok {
			return io.NewSectionReader(a.r, f.off, f.size), nil
		}
		target, ok := a.links[name]
		if !ok {
			break
		}
		name = target
	}
	return nil, corrupt("the archive has no file %q", name)
}

func (a *archive) read(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxBlob {
		return nil, corrupt("%s in the archive is larger than %d bytes", name, maxBlob)
	}
	return io.ReadAll(r)
}

func blobName(digest string) string { return "blobs/sha256/" + hexOf(digest) }

// blob reads a manifest or config of an OCI archive and verifies it.
func (a *archive) blob(digest string) ([]byte, error) {
	raw, err := a.read(blobName(digest))
	if err != nil {
		return nil, err
	}
	if got := digestOf(raw); got != digest {
		return nil, corrupt("blob %s in the archive has the digest %s", digest, got)
	}
	return raw, nil
}

func (a *archive) has(digest string) bool {
	_, err := a.open(blobName(digest))
	return err == nil
}

// archiveImage is one image of an archive.
type archiveImage struct {
	names     []string
	digest    string // of its manifest; "" in a docker-archive
	manifests [][]byte
	config    []byte
	layers    []func() io.Reader
}

func (ai *archiveImage) String() string {
	if len(ai.names) > 0 {
		return ai.names[0]
	}
	return digestOf(ai.config)
}

// images finds what the archive holds for platform p: by its OCI index, by docker's manifest.json, or by both, which
// then name the same images.
func (a *archive) images(p platform) ([]*archiveImage, error) {
	var list []*archiveImage
	raw, errOCI := a.read("index.json")
	if errOCI == nil {
		list, errOCI = a.ociImages(raw, p)
	}
	docker, errDocker := a.read("manifest.json")
	if errDocker == nil {
		list, errDocker = a.dockerImages(docker, list)
	}
	if len(list) > 0 && (errOCI == nil || errDocker == nil) {
		return list, nil
	}
	if errOCI != nil && errDocker != nil {
		if _, ok := a.files["index.json"]; !ok {
			errOCI = nil
		}
		if _, ok := a.files["manifest.json"]; !ok {
			errDocker = nil
		}
		if err := errors.Join(errOCI, errDocker); err != nil {
			return nil, err
		}
		return nil, corrupt("it is neither an OCI archive (index.json) nor a docker-archive (manifest.json)")
	}
	return nil, fmt.Errorf("%w: no image for %s in the archive", ErrNotFound, p)
}

// Annotations that name an image in an OCI archive.
const (
	annotationImageName = "io.containerd.image.name"
	annotationRefName   = "org.opencontainers.image.ref.name"
)

func (a *archive) ociImages(raw []byte, p platform) ([]*archiveImage, error) {
	top, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	var list []*archiveImage
	for _, d := range top.Manifests {
		if p.score(d.Platform) == 0 || !a.has(d.Digest) {
			continue
		}
		ai, err := a.ociImage(d, p)
		if err != nil {
			return nil, err
		}
		if ai != nil {
			list = append(list, ai)
		}
	}
	return list, nil
}

// ociImage follows a descriptor of the archive's index to an image; nil if it has none for p.
func (a *archive) ociImage(d descriptor, p platform) (*archiveImage, error) {
	ai := &archiveImage{digest: d.Digest, names: ociNames(d)}
	for next := &d; ; {
		raw, err := a.blob(next.Digest)
		if err != nil {
			return nil, err
		}
		m, err := parseManifest(raw)
		if err != nil {
			return nil, err
		}
		if ai.manifests = append(ai.manifests, raw); len(ai.manifests) > 3 {
			return nil, corrupt("image indexes are nested too deep")
		}
		if m.isIndex() {
			if next = m.choose(p, a.has); next == nil {
				return nil, nil
			}
			continue
		}
		if ai.config, err = a.blob(m.Config.Digest); err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			r, err := a.open(blobName(l.Digest))
			if err != nil {
				return nil, err
			}
			ai.layers = append(ai.layers, func() io.Reader {
				return verify(io.NewSectionReader(r, 0, r.Size()), l.Digest, l.Size)
			})
		}
		return ai, nil
	}
}

func ociNames(d descriptor) []string {
	for _, key := range []string{annotationImageName, annotationRefName} {
		n := d.Annotations[key]
		// A bare tag in ref.name does not say of what.
		if n == "" || key == annotationRefName && !strings.ContainsAny(n, "/:") {
			continue
		}
		if ref, err := ParseReference(n); err == nil && ref.Name() != "" {
			return []string{ref.Name()}
		}
	}
	return nil
}

// dockerImages reads manifest.json; an image that is in have already only gets its names from here.
func (a *archive) dockerImages(raw []byte, have []*archiveImage) ([]*archiveImage, error) {
	var entries []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &entries); err != nil {
		return have, corrupt("reading manifest.json: %w", err)
	}
	known := map[string]*archiveImage{}
	for _, ai := range have {
		known[digestOf(ai.config)] = ai
	}
	for _, e := range entries {
		config, err := a.read(e.Config)
		if err != nil {
			return have, err
		}
		ai := known[digestOf(config)]
		if ai == nil {
			ai = &archiveImage{config: config}
			for _, name := range e.Layers {
				r, err := a.open(name)
				if err != nil {
					return have, err
				}
				ai.layers = append(ai.layers, func() io.Reader { return io.NewSectionReader(r, 0, r.Size()) })
			}
			have = append(have, ai)
		}
		for _, tag := range e.RepoTags {
			if ref, err := ParseReference(tag); err == nil {
				ai.names = union(ai.names, ref.Name())
			}
		}
	}
	return have, nil
}
