package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
)

// Pull fetches an image by tag or digest for this machine's platform and unpacks it. Errors wrap one of ErrNotFound,
// ErrUnauthorized, ErrUnreachable, ErrCorrupt, or are the disk's.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (*Image, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.pull(ctx, r, opts)
	if err != nil {
		return nil, fmt.Errorf("pulling %s: %w", r, err)
	}
	return img, nil
}

func (s *Store) pull(ctx context.Context, ref Reference, opts PullOptions) (*Image, error) {
	cfg, err := s.registries.read()
	if err != nil {
		return nil, err
	}
	list, err := cfg.endpoints(ref)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range list {
		img, err := s.pullFrom(ctx, e, ref, opts)
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil || isDiskFull(err) {
			return nil, err
		}
		errs = append(errs, err)
	}
	// The registry itself was asked last and knows best; the mirrors' answers are said after it.
	slices.Reverse(errs)
	return nil, errors.Join(errs...)
}

// pullFrom pulls from one endpoint with the first credentials that it takes.
func (s *Store) pullFrom(ctx context.Context, e endpoint, ref Reference, opts PullOptions) (*Image, error) {
	reg, err := e.dial()
	if err != nil {
		return nil, err
	}
	defer reg.close()
	m, auth, err := s.resolve(ctx, reg, ref, credentials(e, opts))
	if err != nil {
		return nil, err
	}
	raw, err := s.smallBlob(ctx, reg, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	cfg, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	if len(cfg.chains) != len(m.Layers) {
		return nil, corrupt("the manifest has %d layers, the config %d", len(m.Layers), len(cfg.chains))
	}
	defer s.pin(cfg.chains)()
	err = s.ensureLayers(ctx, cfg, func(ctx context.Context, i int, use func(io.Reader) error) error {
		return s.fetchLayer(ctx, reg, m.Layers[i], use)
	})
	if err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		os.Remove(s.ingestPath(l.Digest)) // if it was known by its content already, a part may be left
	}
	digests := []string{ref.Repository() + "@" + m.digest}
	if m.top != m.digest {
		digests = []string{ref.Repository() + "@" + m.top, digests[0]}
	}
	img, err := s.register(ctx, cfg, raw, m.raw, ref.Name(), digests)
	for i := range opts.Auths {
		if err == nil && auth == &opts.Auths[i] && opts.Accepted != nil {
			opts.Accepted(i)
		}
	}
	return img, err
}

// register makes config, manifests and name durable, in this order.
func (s *Store) register(ctx context.Context, cfg *imageConfig, rawConfig []byte, manifests [][]byte, name string, digests []string) (*Image, error) {
	var kept []string
	for _, raw := range append([][]byte{rawConfig}, manifests...) {
		d, err := s.writeBlob(raw)
		if err != nil {
			return nil, err
		}
		kept = append(kept, d)
	}
	if err := s.syncer.sync(); err != nil {
		return nil, explain(err, s.cfg.Dir)
	}
	return s.add(ctx, cfg, name, digests, kept[1:])
}

// credentials to try at an endpoint, in order; the last is none.
func credentials(e endpoint, opts PullOptions) []*Auth {
	var list []*Auth
	if e.ns == "" {
		for i := range opts.Auths {
			list = append(list, &opts.Auths[i])
		}
	}
	for _, a := range e.config.auths() {
		list = append(list, &a)
	}
	return append(list, nil)
}

// resolve finds the manifest for this platform with the first credentials that the registry takes.
func (s *Store) resolve(ctx context.Context, reg *registry, ref Reference, auths []*Auth) (m *manifest, auth *Auth, err error) {
	var denied error
	for _, auth = range auths {
		if err = reg.login(ctx, auth); err == nil {
			m, err = s.manifest(ctx, reg, ref)
		}
		if !errors.Is(err, ErrUnauthorized) {
			return m, auth, err
		}
		if denied == nil {
			denied = err // what the registry said to the first credentials tells most
		}
	}
	return nil, nil, denied
}

var manifestTypes = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}

// manifest asks for what ref names and, if it is an index, for this platform's part of it.
func (s *Store) manifest(ctx context.Context, reg *registry, ref Reference) (*manifest, error) {
	what := ref.Digest
	if what == "" {
		what = ref.Tag
	}
	var raws [][]byte
	top := ""
	for depth := range 3 { // an index may point to another one
		// The registry is always asked for the first: that it is here does not say that who asks may have it.
		raw, err := s.manifestBlob(ctx, reg, what, depth > 0)
		if err != nil {
			return nil, err
		}
		raws = append(raws, raw)
		m, err := parseManifest(raw)
		if err != nil {
			return nil, err
		}
		if top == "" {
			top = m.digest
		}
		if !m.isIndex() {
			m.top, m.raw = top, raws
			return m, nil
		}
		child := m.choose(s.platform, nil)
		if child == nil {
			return nil, fmt.Errorf("%w: no image for %s in %s", ErrNotFound, s.platform, ref)
		}
		what = child.Digest
	}
	return nil, corrupt("image indexes are nested too deep")
}

func (s *Store) manifestBlob(ctx context.Context, reg *registry, what string, local bool) ([]byte, error) {
	isDigest := digestPattern.MatchString(what)
	if isDigest && local {
		if raw, err := s.readBlob(what); err == nil {
			return raw, nil
		}
	}
	raw, header, err := reg.getSmall(ctx, "manifests/"+what, http.Header{"Accept": manifestTypes})
	if err != nil {
		return nil, err
	}
	got := digestOf(raw)
	if isDigest && got != what {
		return nil, corrupt("registry %s: the manifest asked for as %s has the digest %s", reg.host, what, got)
	}
	if said := header.Get("Docker-Content-Digest"); digestPattern.MatchString(said) && said != got {
		return nil, corrupt("registry %s: the manifest announced as %s has the digest %s", reg.host, said, got)
	}
	return raw, nil
}

// smallBlob fetches a config.
func (s *Store) smallBlob(ctx context.Context, reg *registry, digest string) ([]byte, error) {
	if raw, err := s.readBlob(digest); err == nil {
		return raw, nil
	}
	raw, _, err := reg.getSmall(ctx, "blobs/"+digest, nil)
	if err != nil {
		return nil, err
	}
	if got := digestOf(raw); got != digest {
		return nil, corrupt("registry %s: the image config asked for as %s has the digest %s", reg.host, digest, got)
	}
	return raw, nil
}

// fetchLayer streams a layer's blob into use. What a failure leaves behind is kept for the next attempt, unless it is
// wrong: then, if it began with an earlier attempt's bytes, the blob is fetched once more from its start.
func (s *Store) fetchLayer(ctx context.Context, reg *registry, desc descriptor, use func(io.Reader) error) error {
	releaseBlob, err := s.blobLocks.take(ctx, desc.Digest)
	if err != nil {
		return err
	}
	defer releaseBlob()
	release, err := acquire(ctx, s.downloads)
	if err != nil {
		return err
	}
	defer release()
	for {
		d, err := s.openDownload(ctx, reg, desc.Digest, desc.Size)
		if err != nil {
			return err
		}
		err = use(verify(d, desc.Digest, desc.Size))
		d.Close()
		if err == nil || errors.Is(err, ErrCorrupt) || isDiskFull(err) {
			os.Remove(s.ingestPath(desc.Digest))
		}
		if !errors.Is(err, ErrCorrupt) || !d.resumed {
			return err
		}
	}
}

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform"`
	Annotations map[string]string `json:"annotations"`
}

// manifest is an image manifest or an index, of OCI or of Docker's schema 2.
type manifest struct {
	digest string
	top    string   // the digest that the reference led to: of the index, if there is one
	raw    [][]byte // every manifest on the way

	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
}

func (m *manifest) isIndex() bool { return m.Config.Digest == "" }

func parseManifest(raw []byte) (*manifest, error) {
	m := &manifest{digest: digestOf(raw)}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, corrupt("reading the manifest: %w", err)
	}
	if m.SchemaVersion == 1 {
		return nil, fmt.Errorf("%w: the image is in Docker's schema 1, which is not supported; push it again with a current tool", ErrNotFound)
	}
	for _, d := range slices.Concat(m.Layers, m.Manifests) {
		if !digestPattern.MatchString(d.Digest) || d.Size < 0 {
			return nil, corrupt("bad descriptor %q in the manifest", d.Digest)
		}
	}
	if !m.isIndex() && !digestPattern.MatchString(m.Config.Digest) {
		return nil, corrupt("bad config digest %q in the manifest", m.Config.Digest)
	}
	if m.isIndex() && len(m.Manifests) == 0 {
		return nil, corrupt("it is neither an image manifest nor an index")
	}
	return m, nil
}

// choose picks the part of an index that runs here; only among those that have says are there, if it is given.
func (m *manifest) choose(p platform, have func(digest string) bool) *descriptor {
	var best *descriptor
	score := 0
	for i := range m.Manifests {
		d := &m.Manifests[i]
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" || have != nil && !have(d.Digest) {
			continue
		}
		if n := p.score(d.Platform); n > score {
			best, score = d, n
		}
	}
	return best
}
