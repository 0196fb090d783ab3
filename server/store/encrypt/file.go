package encrypt

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	configv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// DefaultResources are encrypted unless the file says otherwise.
var DefaultResources = []string{"secrets"}

// File is the key file that this package looks after.
type File struct {
	// Path of it, e.g. /var/lib/skiff/server/tls/encryption.json.
	Path string
	// Write replaces a file so that a power cut leaves the old or the new one.
	Write func(path string, data []byte, mode os.FileMode) error
}

// ring is what the key file says: AES-GCM keys, of which the first writes, or nothing writes when it is off.
type ring struct {
	resources []string
	keys      []configv1.Key
	off       bool
}

// load reads the file, or makes one with a first key.
func (f *File) load() (ring, error) {
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		k, err := newKey(1)
		if err != nil {
			return ring{}, err
		}
		r := ring{resources: DefaultResources, keys: []configv1.Key{k}}
		return r, f.save(r)
	}
	if err != nil {
		return ring{}, fmt.Errorf("read encryption keys: %w", err)
	}
	config, err := decode(data)
	if err != nil {
		return ring{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	r, err := ringOf(config)
	if err != nil {
		return ring{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	return r, nil
}

func (f *File) save(r ring) error {
	data, err := json.MarshalIndent(r.config(), "", "  ")
	if err != nil {
		return err
	}
	if err := f.Write(f.Path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write encryption keys: %w", err)
	}
	return nil
}

// config is the ring as an EncryptionConfiguration.
func (r ring) config() *configv1.EncryptionConfiguration {
	sealed := configv1.ProviderConfiguration{AESGCM: &configv1.AESConfiguration{Keys: r.keys}}
	plain := configv1.ProviderConfiguration{Identity: &configv1.IdentityConfiguration{}}
	providers := []configv1.ProviderConfiguration{sealed, plain}
	if r.off {
		slices.Reverse(providers)
	}
	return &configv1.EncryptionConfiguration{
		TypeMeta:  metav1.TypeMeta{APIVersion: configAPIVersion, Kind: configKind},
		Resources: []configv1.ResourceConfiguration{{Resources: r.resources, Providers: providers}},
	}
}

// ringOf reads back what config made.
func ringOf(c *configv1.EncryptionConfiguration) (ring, error) {
	bad := errors.New("this is not a key file of skiff: expected one list of resources with the providers aesgcm and identity; " +
		"name a file of your own with --encryption-provider-config")
	if len(c.Resources) != 1 || len(c.Resources[0].Providers) != 2 {
		return ring{}, bad
	}
	r, p := ring{resources: c.Resources[0].Resources}, c.Resources[0].Providers
	if r.off = p[0].Identity != nil; r.off {
		p = []configv1.ProviderConfiguration{p[1], p[0]}
	}
	if p[0].AESGCM == nil || p[1].Identity == nil {
		return ring{}, bad
	}
	r.keys = p[0].AESGCM.Keys
	for _, k := range r.keys {
		if sequence(k.Name) == 0 {
			return ring{}, fmt.Errorf("key %q: a key of skiff is called skiff-<number>-<fingerprint>", k.Name)
		}
	}
	return r, nil
}

// The three changes of a rotation. Each returns a new ring.

// add puts a key at the end: it can be read with, and is not written with yet.
func (r ring) add(k configv1.Key) ring {
	r.keys = append(slices.Clone(r.keys), k)
	return r
}

// promote puts the newest key first: it is written with from now on.
func (r ring) promote() ring {
	r.keys = slices.Clone(r.keys)
	slices.SortFunc(r.keys, func(a, b configv1.Key) int { return sequence(b.Name) - sequence(a.Name) })
	return r
}

// drop leaves only the key that is written with.
func (r ring) drop() ring {
	r.keys = slices.Clone(r.keys[:1])
	return r
}

// promoted: the newest key is the one that is written with.
func (r ring) promoted() bool { return r.newest() == sequence(r.keys[0].Name) }

func (r ring) newest() (n int) {
	for _, k := range r.keys {
		n = max(n, sequence(k.Name))
	}
	return n
}

// newKey has a name by which keys can be told apart even if their numbers are the same.
func newKey(number int) (configv1.Key, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return configv1.Key{}, err
	}
	sum := sha256.Sum256(secret[:])
	return configv1.Key{
		Name:   fmt.Sprintf("skiff-%d-%s", number, hex.EncodeToString(sum[:4])),
		Secret: base64.StdEncoding.EncodeToString(secret[:]),
	}, nil
}

// sequence is the number in a key's name; 0 if it is not of ours.
func sequence(name string) int {
	rest, ok := strings.CutPrefix(name, "skiff-")
	if !ok {
		return 0
	}
	number, _, ok := strings.Cut(rest, "-")
	if n, err := strconv.Atoi(number); ok && err == nil && n > 0 {
		return n
	}
	return 0
}
