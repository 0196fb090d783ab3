package encrypt

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

var secrets = schema.GroupResource{Resource: "secrets"}

const key = "/registry/secrets/default/x"

func parse(t testing.TB, text string) *Transformer {
	t.Helper()
	tr, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"

// 32 bytes in base64.
const (
	secretA = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secretB = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="
)

func TestEveryProviderOpensWhatItSealed(t *testing.T) {
	for _, name := range []string{"aesgcm", "secretbox", "aescbc"} {
		tr := parse(t, head+"- resources: [secrets]\n  providers:\n  - "+name+":\n      keys:\n      - {name: a, secret: "+secretA+"}\n  - identity: {}\n")
		for _, plain := range []string{"k8s\x00 something", "", strings.Repeat("x", 31), strings.Repeat("y", 32)} {
			sealed, err := tr.Seal(secrets, key, []byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(sealed, []byte("k8s:enc:"+name+":v1:a:")) || plain != "" && bytes.Contains(sealed, []byte(plain)) || tr.Stale(secrets, sealed) {
				t.Errorf("%s: %q", name, sealed)
			}
			got, err := tr.Open(secrets, key, sealed)
			if err != nil || string(got) != plain {
				t.Errorf("%s: %q %v", name, got, err)
			}
			again, _ := tr.Seal(secrets, key, []byte(plain))
			if bytes.Equal(again, sealed) {
				t.Errorf("%s: the same nonce twice", name)
			}
		}
		if got, err := tr.Open(secrets, key, []byte("plain")); err != nil || string(got) != "plain" {
			t.Errorf("%s: unencrypted: %q %v", name, got, err)
		}
	}
}

func TestAValueOpensOnlyUnderItsOwnKey(t *testing.T) {
	tr := parse(t, head+"- resources: [secrets]\n  providers:\n  - aesgcm:\n      keys:\n      - {name: a, secret: "+secretA+"}\n")
	sealed, err := tr.Seal(secrets, key, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Open(secrets, "/registry/secrets/other/x", sealed); err == nil {
		t.Error("a value that was moved to another key opens")
	}
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if got, err := tr.Open(secrets, key, broken); err == nil && string(got) == "plain" {
			t.Errorf("byte %d was changed and it still opens", i)
		}
	}
}

func TestRules(t *testing.T) {
	tr := parse(t, head+`- resources: [secrets, deployments.apps]
  providers:
  - aesgcm: {keys: [{name: b, secret: `+secretB+`}, {name: a, secret: `+secretA+`}]}
- resources: ["*."]
  providers: [{identity: {}}, {aesgcm: {keys: [{name: a, secret: `+secretA+`}]}}]
- resources: ["*.*"]
  providers: [{secretbox: {keys: [{name: s, secret: `+secretA+`}]}}]
`)
	for resource, want := range map[string]string{"secrets": "aesgcm b", "deployments.apps": "aesgcm b", "configmaps": "unencrypted", "roles.rbac.authorization.k8s.io": "secretbox s"} {
		gr := schema.ParseGroupResource(resource)
		sealed, err := tr.Seal(gr, key, []byte("v"))
		if err != nil {
			t.Fatal(err)
		}
		if got := headerOf(sealed); got != want || !tr.Covers(gr) {
			t.Errorf("%s: %s, want %s", resource, got, want)
		}
	}
	older := parse(t, head+"- resources: [secrets]\n  providers:\n  - aesgcm:\n      keys:\n      - {name: a, secret: "+secretA+"}\n")
	sealed, _ := older.Seal(secrets, key, []byte("v"))
	if !tr.Stale(secrets, sealed) {
		t.Error("written with an older key, and not stale")
	}
	if got, err := tr.Open(secrets, key, sealed); err != nil || string(got) != "v" {
		t.Errorf("%q %v", got, err)
	}
}

func TestBadConfigurationsAreRefusedAndKeepTheirSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"not yaml":         "\t{",
		"other kind":       "apiVersion: v1\nkind: Secret\n",
		"unknown field":    head + "- resources: [secrets]\n  provider: []\n",
		"no providers":     head + "- resources: [secrets]\n",
		"short key":        head + "- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: c2hvcnRzZWNyZXQ=}]}}]\n",
		"not base64":       head + "- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: \"%%shortsecret\"}]}}]\n",
		"two in one":       head + "- resources: [secrets]\n  providers: [{identity: {}, aesgcm: {keys: [{name: a, secret: " + secretA + "}]}}]\n",
		"kms":              head + "- resources: [secrets]\n  providers: [{kms: {name: x, endpoint: \"unix:///x\", timeout: 3s}}]\n",
		"resource and all": head + "- resources: [secrets, \"*.\"]\n  providers: [{identity: {}}]\n",
	} {
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%s was accepted", name)
		} else if strings.Contains(err.Error(), secretA) || strings.Contains(err.Error(), "shortsecret") || strings.Contains(err.Error(), "c2hvcnRzZWNyZXQ") {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
}

// memory is a Rewriter over a map.
type memory struct {
	live   *Live
	values map[string][]byte
}

func (m *memory) Rewrite(context.Context) (done Rewritten, err error) {
	for k, v := range m.values {
		if !m.live.Stale(secrets, v) {
			continue
		}
		plain, err := m.live.Open(secrets, k, v)
		if err != nil {
			done.Unreadable++
			continue
		}
		if m.values[k], err = m.live.Seal(secrets, k, plain); err != nil {
			return done, err
		}
		done.Values++
	}
	return done, nil
}

func (m *memory) Tally(context.Context) (map[string]int, error) {
	out := map[string]int{}
	for _, v := range m.values {
		out[headerOf(v)]++
	}
	return out, nil
}

func write(path string, data []byte, mode os.FileMode) error { return os.WriteFile(path, data, mode) }

// TestRotationCutOffAfterAnyStep: a new process, with what is on disk only, reads every value and finishes.
func TestRotationCutOffAfterAnyStep(t *testing.T) {
	type cut struct{}
	for _, step := range []Step{StepAdded, StepPromoted, StepRewriting, StepRewritten, StepDropped} {
		t.Run(string(step), func(t *testing.T) {
			file := &File{Path: filepath.Join(t.TempDir(), "encryption.json"), Write: write}
			armed := false // by the first step, for a rotation begins by finishing an older one
			r, err := New(Config{File: file, After: func(s Step) {
				armed = armed || s == StepAdded
				if armed && s == step {
					panic(cut{})
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			m := &memory{live: r.Live(), values: map[string][]byte{"/registry/secrets/a/plain": []byte("v")}}
			if _, err := r.Resume(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			before, _ := r.Status(context.Background(), m)
			if m.values["/registry/secrets/a/sealed"], err = m.live.Seal(secrets, "/registry/secrets/a/sealed", []byte("v")); err != nil {
				t.Fatal(err)
			}
			func() {
				defer func() {
					if v := recover(); v != (cut{}) {
						t.Fatalf("not cut off: %v", v)
					}
				}()
				_, _ = r.Rotate(context.Background(), m)
			}()

			next, err := New(Config{File: file})
			if err != nil {
				t.Fatal(err)
			}
			m.live = next.Live()
			readAll(t, m)
			if _, err := next.Resume(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			readAll(t, m)
			s, _ := next.Status(context.Background(), m)
			if len(s.Older) != 0 || s.Key == before.Key || len(s.Values) != 1 || s.Values["aesgcm "+s.Key] != 2 {
				t.Errorf("%+v", s)
			}
			if done, err := next.Resume(context.Background(), m); err != nil || done.Values != 0 {
				t.Errorf("a second time: %+v %v", done, err)
			}
		})
	}
}

func readAll(t *testing.T, m *memory) {
	t.Helper()
	for k, v := range m.values {
		if plain, err := m.live.Open(secrets, k, v); err != nil || string(plain) != "v" {
			t.Errorf("%s: %q %v", k, plain, err)
		}
	}
}

func TestDisableAndEnable(t *testing.T) {
	file := &File{Path: filepath.Join(t.TempDir(), "encryption.json"), Write: write}
	r, err := New(Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	m := &memory{live: r.Live(), values: map[string][]byte{}}
	m.values[key], _ = m.live.Seal(secrets, key, []byte("v"))
	if _, err := r.Disable(ctx, m); err != nil || string(m.values[key]) != "v" {
		t.Fatalf("%q %v", m.values[key], err)
	}
	if s, _ := FileStatus(file.Path); s.Enabled || s.Key == "" {
		t.Errorf("%+v", s)
	}
	if _, err := r.Rotate(ctx, m); err == nil {
		t.Error("rotated while disabled")
	}
	if _, err := r.Enable(ctx, m); err != nil || !strings.HasPrefix(string(m.values[key]), "k8s:enc:aesgcm") {
		t.Fatalf("%q %v", m.values[key], err)
	}
	readAll(t, m)
}

func TestForeignKeysAreNotTouched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := head + "- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: " + secretA + "}]}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Foreign: file})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{live: r.Live(), values: map[string][]byte{key: []byte("v")}}
	if _, err := r.Rotate(context.Background(), m); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	if done, err := r.Resume(context.Background(), m); err != nil || done.Values != 0 {
		t.Errorf("%+v %v", done, err)
	}
	if done, err := r.Reencrypt(context.Background(), m); err != nil || done.Values != 1 {
		t.Errorf("%+v %v", done, err)
	}
	readAll(t, m)
}

func FuzzOpen(f *testing.F) {
	tr := parse(f, head+"- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: "+secretA+"}]}}, {secretbox: {keys: [{name: a, secret: "+
		secretA+"}]}}, {aescbc: {keys: [{name: a, secret: "+secretA+"}]}}, {identity: {}}]\n")
	sealed, _ := tr.Seal(secrets, key, []byte("v"))
	f.Add(sealed)
	f.Add([]byte("k8s:enc:secretbox:v1:a:short"))
	f.Add([]byte("k8s:enc:aescbc:v1:a:0123456789abcdef0123456789abcdef"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		plain, err := tr.Open(secrets, key, stored)
		if err == nil && bytes.HasPrefix(stored, []byte("k8s:enc:aesgcm:")) && string(plain) != "v" {
			t.Errorf("forged: %q", plain)
		}
		if len(headerOf(stored)) > 300 {
			t.Error("the header is not bounded")
		}
		tr.Stale(secrets, stored)
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "- resources: [secrets]\n  providers: [{identity: {}}]\n"))
	f.Add([]byte(`{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["a.b"],"providers":[{"aesgcm":{"keys":[{"name":"a","secret":"` + secretA + `"}]}}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := Parse(data)
		if err != nil {
			return
		}
		for _, gr := range []schema.GroupResource{secrets, {Group: "b", Resource: "a"}} {
			sealed, err := tr.Seal(gr, key, []byte("v"))
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := tr.Open(gr, key, sealed); err != nil || string(plain) != "v" {
				t.Fatalf("%q %v", plain, err)
			}
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	tr := parse(b, head+"- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: "+secretA+"}]}}]\n")
	plain := bytes.Repeat([]byte("x"), 1024)
	for b.Loop() {
		sealed, _ := tr.Seal(secrets, key, plain)
		if _, err := tr.Open(secrets, key, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
