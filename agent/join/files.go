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

// password of this node; made and on disk before it is shown to anybody, because losing it loses the name. One that is damaged is not replaced:
// another would be refused as a stranger's.
func (f files) password() (string, error) {
	raw, err := os.ReadFile(f.path("node-password"))
	p := strings.TrimSpace(string(raw))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("reading the node password: %w", err)
	case err == nil && (len(p) < 16 || strings.ContainsFunc(p, func(c rune) bool { return c < '!' || c > '~' })):
		return "", fmt.Errorf("%w: %s holds no password: restore it, or remove it and delete the Node of this name, so that the machine can join as a new one", errDamaged, f.path("node-password"))
	case err == nil:
		return p, nil
	}
	var b [24]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	p = hex.EncodeToString(b[:])
	return p, f.write("node-password", []byte(p+"\n"))
}

// errDamaged: a file that cannot be made again.
var errDamaged = errors.New("damaged file")

// state is everything a node has after joining. Immutable.
type state struct {
	caPEM []byte
	roots *x509.CertPool
	// kubeletPEM is the authority of the serving certificate; nil if it was signed before that had its own, or is not known.
	kubeletPEM []byte
	leaves     map[string]*tls.Certificate
	cluster    joinapi.Cluster
}

// load reads the state; an error says why the node has to join (again). Certificates that have expired are no reason: the node's key renews them.
func (f files) load() (*state, error) {
	caPEM, err := os.ReadFile(f.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	s := &state{caPEM: caPEM, leaves: map[string]*tls.Certificate{}}
	// Without it the serving certificate is renewed, for which nothing but the client's is needed.
	if raw, err := os.ReadFile(f.path("kubelet-ca.crt")); err == nil && x509.NewCertPool().AppendCertsFromPEM(raw) {
		s.kubeletPEM = raw
	}
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
	return s, s.check()
}

// save writes the state, the part that makes load succeed last.
func (f files) save(s *state, keys map[string][]byte) error {
	if err := f.write("ca.crt", s.caPEM); err != nil {
		return err
	}
	if err := f.write("kubelet-ca.crt", s.kubeletPEM); err != nil {
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

// check verifies that all certificates are their authority's. Whether they are in force is another question: the node's clock may be wrong.
func (s *state) check() error {
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(s.caPEM) {
		return errors.New("ca.crt holds no certificate")
	}
	for name, cert := range s.leaves {
		roots, usage := s.roots, x509.ExtKeyUsageClientAuth
		if name == leafServing {
			if s.kubeletPEM == nil {
				continue
			}
			roots, usage = x509.NewCertPool(), x509.ExtKeyUsageServerAuth
			roots.AppendCertsFromPEM(s.kubeletPEM)
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: cert.Leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return fmt.Errorf("%s certificate: %w", name, err)
		}
	}
	return nil
}

// inForce tells whether every certificate is at a time.
func (s *state) inForce(now time.Time) bool {
	for _, cert := range s.leaves {
		if now.Before(cert.Leaf.NotBefore) || now.After(cert.Leaf.NotAfter) {
			return false
		}
	}
	return true
}

// due tells whether the certificates are to be renewed: they are old, or from the future because a clock was set back, or of the time before kubelets had an
// authority of their own.
func (s *state) due(now time.Time) bool {
	return s.kubeletPEM == nil || !s.inForce(now) || !now.Before(s.renewAt())
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
