package image

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/image/unpack"
)

// Config of a Store.
type Config struct {
	Dir string
	// Registries is the path of registries.yaml (mirrors, credentials, TLS); "" for none. Read again when it changes.
	Registries string
	Log        *slog.Logger
	// Limits of one layer; zero takes the defaults.
	Limits unpack.Limits
	// Downloads at the same time, over all pulls (default 4).
	Downloads int
}

// Image is one unpacked image. Immutable.
type Image struct {
	// ID is the digest of its config: "sha256:…".
	ID string
	// Names are the references it is known by, normalised ("docker.io/library/nginx:1.27"); Digests the name@sha256 ones.
	Names, Digests []string
	// Size of the unpacked layers in bytes.
	Size int64
	// Layers are the directories of the unpacked layers, lowest first.
	Layers []string `json:",omitempty"`

	// What the image's config asks for:
	Entrypoint, Cmd, Env []string
	WorkingDir           string
	User                 string // "", "uid", "uid:gid", "name", "name:group"
	StopSignal           string
	Volumes              []string
	ExposedPorts         []string
	Labels               map[string]string
	Created              time.Time
}

// Auth is what to show a registry.
type Auth struct {
	Username, Password string
	// Token is a bearer token that the registry takes as it is; IdentityToken is exchanged for one at its token service.
	Token, IdentityToken string
}

// PullOptions of Pull.
type PullOptions struct {
	// Auths to try at the image's own registry, in order; then those of registries.yaml, then none. Mirrors only ever see
	// what registries.yaml has for them.
	Auths []Auth
	// Accepted, which may be nil, is called before Pull returns an image that it got with one of Auths: with its index. It is not called
	// when the registry wanted none of them.
	Accepted func(i int) `json:"-"`
}

// Store holds images. Safe for concurrent use; pulls of one layer by several callers happen once.
type Store struct {
	cfg      Config
	log      *slog.Logger
	platform platform
	lock     *os.File

	registries registriesFile
	downloads  chan struct{} // semaphore of Config.Downloads
	unpacking  chan struct{} // semaphore: as many as there are cores
	syncer     syncer
	layerLocks keyedLock // by chain ID
	blobLocks  keyedLock // by blob digest

	mu     sync.Mutex
	images map[string]*record // by ID
	pins   map[string]int     // chain IDs that running pulls need
}

// record is an image as the index has it, with the chain IDs of its layers. Immutable: replaced, never changed.
type record struct {
	image  *Image
	chains []string
	// manifests are the digests of the manifest blobs kept for it.
	manifests []string
}

// Open reads the index, sets aside what is damaged and removes what no image uses.
func Open(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Downloads == 0 {
		cfg.Downloads = 4
	}
	s := &Store{
		cfg: cfg, log: cfg.Log, platform: hostPlatform(),
		registries: registriesFile{path: cfg.Registries},
		downloads:  make(chan struct{}, cfg.Downloads),
		unpacking:  make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		syncer:     syncer{dir: cfg.Dir},
		images:     map[string]*record{}, pins: map[string]int{},
	}
	for _, d := range []string{s.blobDir(), s.ingestDir(), s.layerRoot()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening the image store: %w", err)
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		s.Close()
		return nil, fmt.Errorf("opening the image store %s: %w", cfg.Dir, err)
	}
	s.sweep()
	return s, nil
}

// Close lets another process open the store. Nothing may be running.
func (s *Store) Close() error { return s.lock.Close() }

// takeLock waits a moment: a daemon that is being restarted may still hold it.
func (s *Store) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking the image store: %w", err)
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			s.lock = f
			return nil
		}
		if time.Now().After(deadline) {
			f.Close()
			return fmt.Errorf("%w: %s: %w", ErrLocked, s.cfg.Dir, err)
		}
	}
}

func (s *Store) blobDir() string   { return filepath.Join(s.cfg.Dir, "blobs", "sha256") }
func (s *Store) ingestDir() string { return filepath.Join(s.cfg.Dir, "ingest") }
func (s *Store) layerRoot() string { return filepath.Join(s.cfg.Dir, "layers") }
func (s *Store) layerDir(chain string) string {
	return filepath.Join(s.layerRoot(), hexOf(chain))
}
func (s *Store) layerFS(chain string) string { return filepath.Join(s.layerDir(chain), "fs") }

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// Get finds an image by reference, digest reference or ID; nil if it is not here.
func (s *Store) Get(ref string) *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(ref); r != nil {
		return r.image
	}
	return nil
}

func (s *Store) find(ref string) *record {
	id := ref
	if len(ref) == 64 && digestPattern.MatchString("sha256:"+ref) {
		id = "sha256:" + ref
	}
	if r := s.images[id]; r != nil {
		return r
	}
	parsed, err := ParseReference(ref)
	if err != nil {
		return nil
	}
	for _, r := range s.images {
		if parsed.Digest != "" {
			if slices.Contains(r.image.Digests, parsed.Repository()+"@"+parsed.Digest) {
				return r
			}
		} else if slices.Contains(r.image.Names, parsed.Name()) {
			return r
		}
	}
	return nil
}

// List returns every image, sorted by first name.
func (s *Store) List() []*Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Image, 0, len(s.images))
	for _, r := range s.images {
		out = append(out, r.image)
	}
	slices.SortFunc(out, func(a, b *Image) int {
		return cmp.Or(strings.Compare(firstName(a), firstName(b)), strings.Compare(a.ID, b.ID))
	})
	return out
}

// firstName sorts images without a name behind all others.
func firstName(i *Image) string {
	for _, names := range [][]string{i.Names, i.Digests} {
		if len(names) > 0 {
			return names[0]
		}
	}
	return "~"
}

// add puts an image into the index under one more name (either may be ""), taking the name from whatever had it.
func (s *Store) add(ctx context.Context, cfg *imageConfig, name string, digests, manifests []string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*record, len(s.images)+1)
	for id, r := range s.images {
		next[id] = r
		if id != cfg.id && name != "" && slices.Contains(r.image.Names, name) {
			next[id] = r.with(func(i *Image) { i.Names = without(i.Names, name) })
		}
	}
	old := next[cfg.id]
	if old == nil {
		old = &record{image: cfg.image(s)}
	}
	r := old.with(func(i *Image) {
		if name != "" {
			i.Names = union(i.Names, name)
			slices.Sort(i.Names)
		}
		i.Digests = union(i.Digests, digests...)
	})
	r.chains = cfg.chains
	r.manifests = union(r.manifests, manifests...)
	next[cfg.id] = r
	if err := s.save(next); err != nil {
		return nil, err
	}
	s.images = next
	return r.image, nil
}

// with returns a copy of the record with a changed copy of its image.
func (r *record) with(change func(*Image)) *record {
	c, i := *r, *r.image
	i.Names, i.Digests, c.manifests = slices.Clone(i.Names), slices.Clone(i.Digests), slices.Clone(c.manifests)
	change(&i)
	c.image = &i
	return &c
}

func union(list []string, more ...string) []string {
	for _, m := range more {
		if m != "" && !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

func without(list []string, drop string) []string {
	return slices.DeleteFunc(list, func(x string) bool { return x == drop })
}

// pin keeps layers from being removed until the returned func is called.
func (s *Store) pin(chains []string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chains {
		s.pins[c]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range chains {
			if s.pins[c]--; s.pins[c] == 0 {
				delete(s.pins, c)
			}
		}
	}
}
