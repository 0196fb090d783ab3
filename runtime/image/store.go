package image

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Config of a Store.
type Config struct {
	Dir string
	// Registries is the path of registries.yaml (mirrors, credentials, TLS); "" for none. Read again when it changes.
	Registries string
	Log        *slog.Logger
}

// Image is one unpacked image. Immutable.
type Image struct {
	// ID is the digest of its config: "sha256:…".
	ID string
	// Names are the references it is known by, normalised ("docker.io/library/nginx:1.27"); Digests the name@sha256 ones.
	Names, Digests []string
	Size           int64
	// Layers are the directories of the unpacked layers, lowest first.
	Layers []string

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
type Auth struct{ Username, Password, Token string }

// PullOptions of Pull.
type PullOptions struct {
	// Auths to try, in order; then those of registries.yaml, then none.
	Auths []Auth
}

// Store holds images. Safe for concurrent use; pulls of one layer by several callers happen once.
type Store struct{}

// Open reads the index, sets aside what is damaged and removes what no image uses.
func Open(Config) (*Store, error) { panic("not written yet") }

// Pull fetches an image by tag or digest for this machine's platform and unpacks it. Errors wrap one of ErrNotFound,
// ErrUnauthorized, ErrUnreachable, ErrCorrupt, or are the disk's.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (*Image, error) {
	panic("not written yet")
}

// Import reads a docker-archive or an OCI archive (tar, optionally gzip or zstd).
func (s *Store) Import(ctx context.Context, r io.Reader) ([]*Image, error) { panic("not written yet") }

// Get finds an image by reference, digest reference or ID; nil if it is not here.
func (s *Store) Get(ref string) *Image { panic("not written yet") }

// List returns every image, sorted by first name.
func (s *Store) List() []*Image { panic("not written yet") }

// Remove forgets a name, or with an ID all names, and deletes layers that no image uses any more. inUse reports the IDs of
// images that containers use; they are kept and ErrInUse returned.
func (s *Store) Remove(ctx context.Context, ref string, inUse func(id string) bool) error {
	panic("not written yet")
}

// Usage of the store in bytes on disk.
func (s *Store) Usage() (int64, error) { panic("not written yet") }
