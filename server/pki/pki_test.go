package pki

import (
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestAuthorityIsMadeOnceAndReadAgain(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadCA(dir, "ca", "skiff-ca", t0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadCA(dir, "ca", "skiff-ca", t0.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash() != second.Hash() {
		t.Errorf("the authority changed: %s, then %s", first.Hash(), second.Hash())
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestAuthorityWithAForeignKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca", "other"} {
		if _, err := LoadCA(dir, name, name, t0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "other.key"), filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir, "ca", "ca", t0); err == nil {
		t.Error("a certificate with another's key was accepted")
	}
}

func TestPowerCutBetweenKeyAndCertificate(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadCA(dir, "ca", "ca", t0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir, "ca", "ca", t0); err != nil {
		t.Errorf("a key without certificate must not stop the server: %v", err)
	}
}

func TestRotatingRenewsAtTwoThirds(t *testing.T) {
	ca, err := LoadCA(t.TempDir(), "ca", "ca", t0)
	if err != nil {
		t.Fatal(err)
	}
	now := t0
	r := NewRotating(ca, func() Leaf {
		return Leaf{CommonName: "kube-apiserver", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true, Lifetime: 90 * time.Hour}
	}, func() time.Time { return now })
	first, err := r.Get()
	if err != nil {
		t.Fatal(err)
	}
	now = t0.Add(59 * time.Hour)
	if again, _ := r.Get(); again != first {
		t.Error("renewed before two thirds of its life")
	}
	now = t0.Add(61 * time.Hour)
	next, err := r.Get()
	if err != nil || next == first {
		t.Fatalf("not renewed after two thirds of its life (%v)", err)
	}
	if _, err := next.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, DNSName: "localhost"}); err != nil {
		t.Errorf("the renewed certificate does not verify: %v", err)
	}
}

func TestTokens(t *testing.T) {
	now := t0
	dir := t.TempDir()
	issuer, err := LoadTokenIssuer(dir, "https://kubernetes.default.svc", "https://kubernetes.default.svc", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	claims := TokenClaims{Namespace: "default", ServiceAccount: "web", UID: "u1", Expires: t0.Add(time.Hour), BoundKind: "Pod", BoundName: "p", BoundUID: "u2", NodeName: "n"}
	token, expires, err := issuer.Issue(claims)
	if err != nil || !expires.Equal(t0.Add(time.Hour)) {
		t.Fatalf("issue: %v, expires %v", err, expires)
	}
	got, err := issuer.Verify(token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.ServiceAccount != "web" || got.BoundKind != "Pod" || got.BoundUID != "u2" || got.NodeName != "n" {
		t.Errorf("claims came back as %+v", got)
	}
	if _, err := issuer.Verify(token, []string{"vault"}); !errors.Is(err, ErrToken) {
		t.Errorf("a token for another audience: %v", err)
	}
	if _, err := issuer.Verify(token[:len(token)-4]+"AAAA", nil); !errors.Is(err, ErrToken) {
		t.Errorf("a forged signature: %v", err)
	}
	now = t0.Add(time.Hour + time.Second)
	if _, err := issuer.Verify(token, nil); !errors.Is(err, ErrToken) {
		t.Errorf("an expired token: %v", err)
	}
}

func TestOldSigningKeysStillVerify(t *testing.T) {
	dir := t.TempDir()
	load := func() *TokenIssuer {
		issuer, err := LoadTokenIssuer(dir, "iss", "aud", func() time.Time { return t0 })
		if err != nil {
			t.Fatal(err)
		}
		return issuer
	}
	token, _, err := load().Issue(TokenClaims{Namespace: "a", ServiceAccount: "b", Expires: t0.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "service-account.key"), filepath.Join(dir, "service-account-1.key")); err != nil {
		t.Fatal(err)
	}
	after := load()
	if _, err := after.Verify(token, nil); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
	if len(after.JWKS()) != 2 {
		t.Errorf("%d public keys, want the old and the new one", len(after.JWKS()))
	}
}

func FuzzVerify(f *testing.F) {
	issuer, err := LoadTokenIssuer(f.TempDir(), "iss", "aud", func() time.Time { return t0 })
	if err != nil {
		f.Fatal(err)
	}
	token, _, _ := issuer.Issue(TokenClaims{Namespace: "a", ServiceAccount: "b", Expires: t0.Add(time.Hour)})
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := issuer.Verify(s, nil); err == nil && s != token {
			t.Errorf("accepted %q", s)
		}
	})
}
