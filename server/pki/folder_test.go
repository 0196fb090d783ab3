package pki

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func clockAt(t time.Time) Clock { return func() time.Time { return t } }

// keep makes or reads everything that a server does.
func keep(dir, data string, at time.Time) error {
	f, err := OpenFolder(dir, data)
	if err != nil {
		return err
	}
	for _, name := range []string{"ca", "front-proxy-ca", "kubelet-ca"} {
		if _, err := f.CA(name, name, LossCA, clockAt(at)); err != nil {
			return err
		}
	}
	tokens := TokenConfig{Dir: dir, Issuers: []string{"iss"}, Now: clockAt(at)}
	if err := f.Check(tokens.KeyFile(), LossServiceAccount); err != nil {
		return err
	}
	if _, err := NewTokenIssuer(tokens); err != nil {
		return f.Damaged(err, LossServiceAccount)
	}
	if err := f.Note(tokens.KeyFile()); err != nil {
		return err
	}
	_, err = f.Secret(filepath.Join(filepath.Dir(dir), "agent-token"))
	return err
}

// TestMissingKeyIsNotReplaced: while there are data of a cluster, each of its key files is an error when it has gone, and nothing is written.
func TestMissingKeyIsNotReplaced(t *testing.T) {
	server := t.TempDir()
	dir := filepath.Join(server, "tls")
	if err := keep(dir, "", t0); err != nil {
		t.Fatal(err)
	}
	if err := keep(dir, "/etcd", t0); err != nil {
		t.Fatalf("nothing is missing: %v", err)
	}
	for _, name := range []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "kubelet-ca.crt", "kubelet-ca.key", "service-account.key", "../agent-token"} {
		for what, content := range map[string][]byte{"missing": nil, "of NUL bytes": make([]byte, 64), "empty": {}} {
			file := filepath.Join(dir, name)
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			os.Remove(file)
			if what != "missing" {
				os.WriteFile(file, content, 0o600)
			}
			err = keep(dir, "/etcd", t0)
			if err == nil || !strings.Contains(err.Error(), filepath.Base(name)) || !strings.Contains(strings.ToLower(err.Error()), "restore") {
				t.Errorf("%s %s: %v", name, what, err)
			}
			var gone *MissingKeyError
			if errors.As(err, &gone) != (what == "missing") {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if left, err := os.ReadFile(file); what == "missing" && err == nil {
				t.Errorf("%s was made anew: %q", name, left)
			}
			os.WriteFile(file, good, 0o600)
		}
	}
	if err := keep(dir, "/etcd", t0); err != nil {
		t.Errorf("all is back: %v", err)
	}
	// Without data a new cluster begins.
	os.Remove(filepath.Join(dir, "ca.crt"))
	if err := keep(dir, "", t0); err != nil {
		t.Error(err)
	}
}

// TestOlderCluster: one that was made before there was an inventory, and before kubelets had an authority, gets both; what it always had stays required.
func TestOlderCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := keep(dir, "", t0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{inventory, "kubelet-ca.crt", "kubelet-ca.key"} {
		os.Remove(filepath.Join(dir, name))
	}
	if err := keep(dir, "/etcd", t0); err != nil {
		t.Errorf("%v", err)
	}
	os.Remove(filepath.Join(dir, inventory))
	os.Remove(filepath.Join(dir, "service-account.key"))
	for range 2 { // also after a first try has written an inventory
		if err := keep(dir, "/etcd", t0); err == nil {
			t.Error("a key that every cluster has was made anew")
		}
	}
}

// TestImpossibleClock: what a clock in 1970 makes is good when the clock has been set, and for clients whose clock is still behind.
func TestImpossibleClock(t *testing.T) {
	early := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	dir := t.TempDir()
	ca, err := LoadCA(dir, "ca", "ca", early)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{early, t0, t0.AddDate(20, 0, 0)} {
		if at.Before(ca.cert.NotBefore) || at.After(ca.cert.NotAfter) {
			t.Errorf("it is not good in %d", at.Year())
		}
	}
	now := early
	leaf := NewRotating(ca, func() Leaf { return Leaf{CommonName: "x", Server: true} }, func() time.Time { return now })
	for _, at := range []time.Time{early, t0, t0.AddDate(2, 0, 0), t0} { // set right, then wrong, then right again
		now = at
		c, err := leaf.Get()
		if err != nil {
			t.Fatal(err)
		}
		if at.Before(c.Leaf.NotBefore) || at.After(c.Leaf.NotAfter) {
			t.Errorf("at %v: the leaf is good from %v to %v", at, c.Leaf.NotBefore, c.Leaf.NotAfter)
		}
	}
	// As an earlier version made it: from 1970 to 1994. Nobody accepts that, so it is dated anew; what its key signed stays good.
	old := *ca.cert
	old.NotBefore, old.NotAfter = early.Add(-clockSkew), early.Add(caLifetime)
	der, err := x509.CreateCertificate(rand.Reader, &old, &old, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "ca.crt"), encodeCert(der), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := LoadCA(dir, "ca", "ca", t0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := leaf.Get()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: again.Pool(), CurrentTime: t0}); err != nil {
		t.Error(err)
	}
	// One that has simply ended is not replaced.
	if _, err := LoadCA(dir, "ca", "ca", t0.AddDate(30, 0, 0)); err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("%v", err)
	}
}
