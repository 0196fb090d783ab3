package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func clientCertificate(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node:" + name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestDefaultName: a new node is called by the whole host name, and one that has a name keeps it.
func TestDefaultName(t *testing.T) {
	for what, c := range map[string]struct {
		before func(p wellknown.Paths)
		want   string
	}{
		"new": {func(wellknown.Paths) {}, "box.site-a"},
		"joined": {func(p wellknown.Paths) {
			write(t, filepath.Join(p.AgentTLS(), "client.pem"), clientCertificate(t, "box"))
		}, "box"},
		"server of an older": {func(p wellknown.Paths) { write(t, filepath.Join(p.Etcd(), "member", "snap", "db"), nil) }, "box"},
		"standalone, older":  {func(p wellknown.Paths) { write(t, filepath.Join(p.Pods(), "x"), nil) }, "box"},
		"remembered":         {func(p wellknown.Paths) { c := Config{Paths: p, NodeName: "chosen"}; _ = c.RememberName() }, "chosen"},
		"remembered and older": {func(p wellknown.Paths) {
			c := Config{Paths: p, NodeName: "chosen"}
			_ = c.RememberName()
			write(t, filepath.Join(p.Pods(), "x"), nil)
		}, "chosen"},
	} {
		p := wellknown.Paths{Data: filepath.Join(t.TempDir(), "data")}
		c.before(p)
		got, err := defaultName(p, func() (string, error) { return "Box.site-a", nil })
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", what, got, err, c.want)
		}
	}
}
