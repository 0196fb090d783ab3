package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// files is the directory of the package comment.
type files struct{ dir string }

// Names of the leaf files.
const (
	leafClient  = "client"
	leafServing = "serving"
	leafProxy   = "proxy"
)

var leaves = []string{leafClient, leafServing, leafProxy}

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

// write replaces a file so that a power cut leaves the old or the new content.
func (f files) write(name string, data []byte) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	tmp, err := os.CreateTemp(f.dir, "."+name+"-*") // 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", f.path(name), err)
	}
	if err := os.Rename(tmp.Name(), f.path(name)); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// password of this node; made and on disk before it is shown to anybody, because losing it loses the name.
func (f files) password() (string, error) {
	raw, err := os.ReadFile(f.path("node-password"))
	if p := strings.TrimSpace(string(raw)); err == nil && len(p) >= 16 {
		return p, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the node password: %w", err)
	}
	var b [24]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	p := hex.EncodeToString(b[:])
	return p, f.write("node-password", []byte(p+"\n"))
}

// state is everything a node has after joining. Immutable.
type state struct {
	caPEM   []byte
	roots   *x509.CertPool
	leaves  map[string]*tls.Certificate
	cluster joinapi.Cluster
}

// load reads the state; an error says why the node has to join (again).
func (f files) load(now time.Time) (*state, error) {
	caPEM, err := os.ReadFile(f.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	s := &state{caPEM: caPEM, leaves: map[string]*tls.Certificate{}}
	for _, name := range leaves {
		raw, err := os.ReadFile(f.path(name + ".pem"))
		if err != nil {
			return nil, err
		}
		cert, err := tls.X509KeyPair(raw, raw)
		if err != nil {
			return nil, fmt.Errorf("%s.pem: %w", name, err)
		}
		s.leaves[name] = &cert
	}
	raw, err := os.ReadFile(f.path("cluster.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &s.cluster); err != nil {
		return nil, fmt.Errorf("cluster.json: %w", err)
	}
	return s, s.check(now)
}

// save writes the state, the part that makes load succeed last.
func (f files) save(s *state, keys map[string][]byte) error {
	if err := f.write("ca.crt", s.caPEM); err != nil {
		return err
	}
	for _, name := range leaves {
		if err := f.write(name+".pem", keys[name]); err != nil {
			return err
		}
	}
	return f.saveCluster(s.cluster)
}

func (f files) saveCluster(c joinapi.Cluster) error {
	raw, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err
	}
	return f.write("cluster.json", append(raw, '\n'))
}

// check verifies that all certificates are the authority's and in force.
func (s *state) check(now time.Time) error {
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(s.caPEM) {
		return errors.New("ca.crt holds no certificate")
	}
	for name, cert := range s.leaves {
		usage := x509.ExtKeyUsageClientAuth
		if name == leafServing {
			usage = x509.ExtKeyUsageServerAuth
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: s.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return fmt.Errorf("%s certificate: %w", name, err)
		}
	}
	return nil
}

// renewAt is when the first of the certificates has had two thirds of its life.
func (s *state) renewAt() time.Time {
	var first time.Time
	for _, c := range s.leaves {
		at := c.Leaf.NotBefore.Add(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) * 2 / 3)
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// newKey makes a key and a signing request for it.
func newKey() (keyPEM []byte, csrPEM string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, "", err
	}
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return keyPEM, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), nil
}
