package kms

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/uuid"
	kmsapi "k8s.io/kms/apis/v2"
	"k8s.io/utils/lru"
)

const (
	// good is how long the key in force may seal after the plugin last said that it is the right one.
	good = 3 * time.Minute
	// pause after a failed question, in which opening does not ask again.
	pause = 5 * time.Second
	// openers is how many decrypted seeds are remembered.
	openers = 1024
)

// Config of a Provider.
type Config struct {
	// Name is part of every value.
	Name string
	// Endpoint is unix:///path/of/a/socket; Timeout bounds each question, default 3 s.
	Endpoint string
	Timeout  time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Provider is one plugin. It is safe for concurrent use.
type Provider struct {
	cfg    Config
	plugin kmsapi.KeyManagementServiceClient
	conn   io.Closer

	// current seals; nil before the first good Check.
	current atomic.Pointer[current]
	opened  *lru.Cache
	asking  singleflight.Group

	mu      sync.Mutex
	version string // what the plugin first said
	health  error
	resting time.Time // not asked before
	failure error     // why
}

type current struct {
	source
	seed seed
	// until it may seal.
	until time.Time
}

// errUnchecked is the health of a provider before its first Check.
var errUnchecked = errors.New("the plugin has not been asked yet")

// New asks nobody.
func New(cfg Config) (*Provider, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	conn, plugin, err := dial(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	return &Provider{cfg: cfg, plugin: plugin, conn: conn, opened: lru.New(openers), health: errUnchecked}, nil
}

// Close ends the connection.
func (p *Provider) Close() error { return p.conn.Close() }

// Name of the provider.
func (p *Provider) Name() string { return p.cfg.Name }

// Health is how the last Check went.
func (p *Provider) Health() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health
}

// Check asks the plugin how it is, and takes another key into use if the plugin has one.
func (p *Provider) Check(ctx context.Context) error {
	err := p.check(ctx)
	if err != nil {
		err = fmt.Errorf("kms provider %s: %w", p.cfg.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health = err
	if err == nil {
		p.resting, p.failure = time.Time{}, nil
	}
	return err
}

func (p *Provider) check(ctx context.Context) error {
	// From before the question on: the answer may have been on its way for long.
	until := p.cfg.Now().Add(good)
	asked, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	status, err := p.plugin.Status(asked, &kmsapi.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask for its status: %w", err)
	}
	if status.Healthz != "ok" {
		return fmt.Errorf("got unexpected healthz status: %.200q", status.Healthz)
	}
	if err := p.checkVersion(status.Version); err != nil {
		return err
	}
	if err := validKeyID(status.KeyId); err != nil {
		return err
	}
	if have := p.current.Load(); have != nil && have.keyID == status.KeyId {
		next := *have
		next.until = until
		p.current.Store(&next)
		return nil
	}
	return p.renew(ctx, status.KeyId, until)
}

func (p *Provider) checkVersion(version string) error {
	if version != "v2" && version != "v2beta1" {
		return fmt.Errorf("expected KMSv2 API version v2, got %.50q", version)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version == "" {
		p.version = version
	}
	if p.version != version {
		return fmt.Errorf("its API version changed from %s to %s", p.version, version)
	}
	return nil
}

// renew makes a seed and has it encrypted. The key in force stays if anything is wrong.
func (p *Provider) renew(ctx context.Context, keyID string, until time.Time) error {
	s, err := newSeed()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	answer, err := p.plugin.Encrypt(ctx, &kmsapi.EncryptRequest{Plaintext: s, Uid: string(uuid.NewUUID())})
	if err != nil {
		return fmt.Errorf("have a new key encrypted: %w", err)
	}
	next := &current{source: source{keyID: answer.KeyId, encrypted: answer.Ciphertext, annotations: answer.Annotations, kind: sourceSeed}, seed: s, until: until}
	if err := next.validate(); err != nil {
		return fmt.Errorf("have a new key encrypted: %w", err)
	}
	if answer.KeyId != keyID {
		return errors.New("its status and its encryption tell different key ids")
	}
	p.opened.Add(next.cacheKey(), opener(s))
	p.current.Store(next)
	return nil
}

// Seal appends a sealed value to dst.
func (p *Provider) Seal(dst, plain, authenticated []byte) ([]byte, error) {
	c := p.current.Load()
	if c == nil {
		return nil, fmt.Errorf("kms provider %s has given no key yet: %w", p.cfg.Name, p.Health())
	}
	if now := p.cfg.Now(); now.After(c.until) {
		return nil, fmt.Errorf("the key of kms provider %s expired at %s, as its plugin has not confirmed it since: %w",
			p.cfg.Name, c.until.UTC().Format(time.RFC3339), p.lastFailure())
	}
	data, err := c.seed.seal(plain, authenticated)
	if err != nil {
		return nil, err
	}
	return appendBytes(c.appendHead(dst), fieldData, data), nil
}

// Open opens a sealed value. It asks the plugin for a seed that is not remembered.
func (p *Provider) Open(sealed, authenticated []byte) ([]byte, error) {
	s, data, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	o, err := p.opener(&s)
	if err != nil {
		return nil, fmt.Errorf("kms provider %s: %w", p.cfg.Name, err)
	}
	return o.open(data, authenticated)
}

// Stale says whether a value was sealed with another key of the plugin than the one in force.
func (p *Provider) Stale(sealed []byte) bool {
	c := p.current.Load()
	if c == nil {
		return false // nothing can be sealed any better
	}
	s, _, err := parse(sealed)
	return err != nil || s.keyID != c.keyID || s.kind != c.kind
}

// cacheKey tells sources apart. A hash, since a source has up to 34 KiB.
func (s *source) cacheKey() string {
	sum := sha256.Sum256(s.appendHead(nil))
	return string(sum[:])
}

func (p *Provider) opener(s *source) (opener, error) {
	key := s.cacheKey()
	if o, ok := p.opened.Get(key); ok {
		return o.(opener), nil
	}
	if err := p.rests(); err != nil {
		return nil, err
	}
	made, err, _ := p.asking.Do(key, func() (any, error) { return p.decrypt(key, s) })
	if err != nil {
		return nil, err
	}
	return made.(opener), nil
}

func (p *Provider) decrypt(key string, s *source) (opener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Timeout)
	defer cancel()
	answer, err := p.plugin.Decrypt(ctx, &kmsapi.DecryptRequest{Ciphertext: s.encrypted, KeyId: s.keyID, Annotations: s.annotations, Uid: string(uuid.NewUUID())})
	if err != nil {
		err = fmt.Errorf("failed to decrypt DEK, error: %w", err)
		p.rest(err)
		return nil, err
	}
	o, err := newOpener(s.kind, answer.Plaintext)
	if err != nil {
		return nil, err
	}
	p.opened.Add(key, o)
	return o, nil
}

// lastFailure is the health, or that there has been no Check when it is good: the loop that checks has stopped.
func (p *Provider) lastFailure() error {
	if err := p.Health(); err != nil {
		return err
	}
	return errUnchecked
}
