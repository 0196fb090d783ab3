package kms

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsapi "k8s.io/kms/apis/v2"
)

// service is a plugin with keys of its own, which it keeps when it is stopped and started.
type service struct {
	kmsapi.UnimplementedKeyManagementServiceServer
	socket string

	mu                sync.Mutex
	server            *grpc.Server
	id                string
	keys              map[string]fixedKey
	health            string
	decrypts          int
	otherIDOnEncrypt  bool
	annotationOnValue string
}

func newService(t *testing.T) *service {
	s := &service{socket: filepath.Join(t.TempDir(), "kms.sock"), keys: map[string]fixedKey{}, health: "ok", annotationOnValue: "key.example.com"}
	s.use(t, "one")
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

// use another key from now on; the older ones go on decrypting.
func (s *service) use(t *testing.T, id string) {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	aead, err := newGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.keys[id] = id, fixedKey{aead}
}

func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *service) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, s)
	s.set(func() { s.server = server })
	go func() { _ = server.Serve(l) }()
}

func (s *service) stop() { s.server.Stop(); _ = os.Remove(s.socket) }

func (s *service) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &kmsapi.StatusResponse{Version: "v2", Healthz: s.health, KeyId: s.id}, nil
}

func (s *service) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	id := s.id
	sealed := s.keys[id].Seal(nonce, nonce, r.Plaintext, nil)
	if s.otherIDOnEncrypt {
		id = "other"
	}
	return &kmsapi.EncryptResponse{Ciphertext: sealed, KeyId: id, Annotations: map[string][]byte{s.annotationOnValue: []byte("a")}}, nil
}

func (s *service) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decrypts++
	key, ok := s.keys[r.KeyId]
	if !ok || string(r.Annotations[s.annotationOnValue]) != "a" {
		return nil, status.Error(codes.InvalidArgument, "no such key")
	}
	plain, err := key.open(r.Ciphertext, nil)
	return &kmsapi.DecryptResponse{Plaintext: plain}, err
}

// clock is moved by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newProvider(t *testing.T, s *service, c *clock) *Provider {
	t.Helper()
	p, err := New(Config{Name: "p", Endpoint: "unix://" + s.socket, Timeout: time.Minute, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

// check until the connection, which is not tried all the time, is there again.
func check(t *testing.T, p *Provider) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		err := p.Check(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func seal(t *testing.T, p *Provider, text string) []byte {
	t.Helper()
	sealed, err := p.Seal([]byte("prefix:"), []byte(text), []byte("/registry/x"))
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 2 && strings.Contains(string(sealed), text) {
		t.Error("the value is readable")
	}
	return sealed[len("prefix:"):]
}

func wantOpen(t *testing.T, p *Provider, sealed []byte, want string) {
	t.Helper()
	if got, err := p.Open(sealed, []byte("/registry/x")); err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestSealAndOpen(t *testing.T) {
	s, c := newService(t), newClock()
	p := newProvider(t, s, c)
	if _, err := p.Seal(nil, []byte("x"), nil); err == nil || !strings.Contains(err.Error(), "has given no key yet") {
		t.Errorf("before the first check: %v", err)
	}
	check(t, p)
	a, b := seal(t, p, "first"), seal(t, p, "second")
	if string(a[len(a)-60:]) == string(b[len(b)-60:]) || p.Stale(a) || s.decrypts != 0 {
		t.Errorf("two values are alike, or stale, or the plugin was asked (%d)", s.decrypts)
	}
	// After a restart the plugin is asked once for all of them.
	p = newProvider(t, s, c)
	wantOpen(t, p, a, "first")
	wantOpen(t, p, b, "second")
	if s.decrypts != 1 {
		t.Errorf("the plugin was asked %d times", s.decrypts)
	}
	if _, err := p.Open(a, []byte("/registry/y")); !errors.Is(err, errOpen) {
		t.Errorf("a value that was moved to another key: %v", err)
	}
	for i := range a {
		broken := append([]byte(nil), a...)
		broken[i] ^= 1
		if got, err := p.Open(broken, []byte("/registry/x")); err == nil && string(got) != "first" {
			t.Fatalf("byte %d changed: %q", i, got)
		}
	}
}

func TestAnotherKey(t *testing.T) {
	s, c := newService(t), newClock()
	p := newProvider(t, s, c)
	check(t, p)
	old := seal(t, p, "old")
	s.use(t, "two")
	if check(t, p); !p.Stale(old) {
		t.Error("a value of the old key is not stale")
	}
	if now := seal(t, p, "new"); p.Stale(now) {
		t.Error("a value of the new key is stale")
	}
	wantOpen(t, p, old, "old")
	// A plugin that contradicts itself changes nothing.
	s.use(t, "three")
	s.set(func() { s.otherIDOnEncrypt = true })
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "different key ids") {
		t.Errorf("got %v", err)
	}
	if p.current.Load().keyID != "two" {
		t.Errorf("key %s is in force", p.current.Load().keyID)
	}
	// A plugin that has lost a key says so, and is not held for dead.
	p = newProvider(t, s, c)
	s.set(func() { delete(s.keys, "one"); s.otherIDOnEncrypt = false })
	if _, err := p.Open(old, nil); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("got %v", err)
	}
	check(t, p)
	wantOpen(t, p, seal(t, p, "x"), "x")
}

func TestPluginDown(t *testing.T) {
	s, c := newService(t), newClock()
	p := newProvider(t, s, c)
	check(t, p)
	value := seal(t, p, "value")
	s.stop()
	if err := p.Check(t.Context()); err == nil || p.Health() == nil || !strings.Contains(err.Error(), "kms provider p: ask for its status") {
		t.Fatalf("got %v", err)
	}
	wantOpen(t, p, value, "value")
	wantOpen(t, p, seal(t, p, "more"), "more")
	c.add(good + time.Second)
	if _, err := p.Seal(nil, []byte("x"), nil); err == nil || !strings.Contains(err.Error(), "expired at 2026-01-01T00:03:00Z") || !strings.Contains(err.Error(), "ask for its status") {
		t.Errorf("got %v", err)
	}
	wantOpen(t, p, value, "value")

	// A server that starts now opens nothing, and asks once for a thousand values.
	fresh := newProvider(t, s, c)
	for range 1000 {
		if _, err := fresh.Open(value, []byte("/registry/x")); err == nil || !strings.Contains(err.Error(), "failed to decrypt DEK") {
			t.Fatalf("got %v", err)
		}
	}
	s.start(t)
	check(t, fresh)
	wantOpen(t, fresh, value, "value")
	check(t, p)
	wantOpen(t, p, seal(t, p, "again"), "again")
}

func TestPluginIll(t *testing.T) {
	s, c := newService(t), newClock()
	p := newProvider(t, s, c)
	s.set(func() { s.health = "no disk" })
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), `unexpected healthz status: "no disk"`) {
		t.Errorf("got %v", err)
	}
	s.set(func() { s.health, s.annotationOnValue = "ok", "not a domain" })
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "annotations") {
		t.Errorf("got %v", err)
	}
	s.set(func() { s.id = strings.Repeat("x", maxKeyID+1) })
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "keyID is 1025 bytes") {
		t.Errorf("got %v", err)
	}
}

// TestUpstreamsForm reads a message as upstream's protobuf writes it: fields in order, the data first.
func TestUpstreamsForm(t *testing.T) {
	s := source{keyID: "k", encrypted: []byte("e"), annotations: map[string][]byte{"a.example.com": []byte("1"), "b.example.com": nil}, kind: sourceSeed}
	message := s.appendHead(appendBytes(nil, fieldData, []byte("data")))
	got, data, err := parse(message)
	if err != nil || string(data) != "data" || got.keyID != "k" || string(got.encrypted) != "e" || len(got.annotations) != 2 ||
		string(got.annotations["a.example.com"]) != "1" || got.kind != sourceSeed || got.cacheKey() != s.cacheKey() {
		t.Errorf("got %+v, %q, %v", got, data, err)
	}
	const want = "\n\x04data\x12\x01k\x1a\x01e\"\x12\n\ra.example.com\x12\x011\"\x11\n\rb.example.com\x12\x00(\x01"
	if string(message) != want {
		t.Errorf("got %q", message)
	}
}

func FuzzParse(f *testing.F) {
	s := source{keyID: "k", encrypted: []byte("e"), annotations: map[string][]byte{"a.example.com": []byte("1")}}
	f.Add(s.appendHead(appendBytes(nil, fieldData, []byte("data"))))
	f.Fuzz(func(t *testing.T, message []byte) {
		if s, data, err := parse(message); err == nil && (s.validate() != nil || len(data) == 0) {
			t.Error("a message that is not valid parses")
		}
	})
}
