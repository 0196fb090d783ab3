package server

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/server/pki"
)

func TestTLSFlags(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.LoadCA(dir, "ca", "users", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file, empty := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	const good = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	for what, c := range map[string]struct {
		in   TLSConfig
		want string
	}{
		"default":     {TLSConfig{}, ""},
		"all":         {TLSConfig{MinVersion: "VersionTLS12", CipherSuites: []string{good, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, ClientCAFile: file}, ""},
		"13":          {TLSConfig{MinVersion: "VersionTLS13"}, ""},
		"old":         {TLSConfig{MinVersion: "VersionTLS11"}, "--tls-min-version"},
		"version":     {TLSConfig{MinVersion: "1.2"}, "--tls-min-version"},
		"suite":       {TLSConfig{CipherSuites: []string{"TLS_NO_SUCH"}}, "--tls-cipher-suites"},
		"no http2":    {TLSConfig{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}}, "HTTP/2"},
		"13 suites":   {TLSConfig{MinVersion: "VersionTLS13", CipherSuites: []string{good}}, "TLS 1.3"},
		"no file":     {TLSConfig{ClientCAFile: file + "x"}, "--client-ca-file"},
		"no CA in it": {TLSConfig{ClientCAFile: empty}, "holds no certificate"},
	} {
		err := c.in.validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	own, err := pki.LoadCA(t.TempDir(), "ca", "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{ca: own, cfg: Config{TLS: TLSConfig{ClientCAFile: file}}}
	if err := s.cfg.TLS.validate(); err != nil {
		t.Fatal(err)
	}
	if got := string(s.userCAs()); got != string(own.PEM())+string(ca.PEM()) {
		t.Errorf("%s", got)
	}
	if s.cfg.TLS.min != tls.VersionTLS12 {
		t.Error(s.cfg.TLS.min)
	}
}
