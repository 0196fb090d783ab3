package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caLifetime = 25 * 365 * 24 * time.Hour
	// LeafLifetime of what the server issues; renewed after two thirds of it.
	LeafLifetime = 365 * 24 * time.Hour
	// clockSkew is how far back a certificate is dated, for machines whose clock is behind.
	clockSkew = 5 * time.Minute
)

// Clock tells the time.
type Clock = func() time.Time

// An authority is dated by what the clock says, unless that is impossible: machines without a battery begin in 1970, and have the time a moment later.
var (
	// authoritySince is when every authority begins: a client whose clock is behind believes it too.
	authoritySince = time.Unix(0, 0)
	// impossible is a time at which nobody has made an authority.
	impossible = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	// notBeforeBuild is a time that has passed for every program of this version.
	notBeforeBuild = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

// CA is one certificate authority.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// Leaf is what a certificate should say.
type Leaf struct {
	CommonName    string
	Organizations []string
	// DNSNames and IPs are the subject alternative names of a serving certificate.
	DNSNames []string
	IPs      []net.IP
	// Client and Server choose the extended key usages.
	Client, Server bool
	// Lifetime defaults to LeafLifetime.
	Lifetime time.Duration
}

// LoadCA reads the authority name.crt and name.key in dir, or makes one there.
func LoadCA(dir, name, commonName string, now time.Time) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return createCA(certFile, keyFile, commonName, now)
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%s and %s do not belong together", certFile, keyFile)
	}
	if cert.NotBefore.Before(impossible) && cert.NotAfter.Before(notBeforeBuild) {
		// It was made by a clock that was decades behind, and ended before this program was written. Nobody accepts it, so nothing depends on it; the
		// key stays the same, so what it signed is good under the new certificate.
		if err := WriteFile(certFile+".expired", certPEM, 0o644); err != nil {
			return nil, err
		}
		return writeCA(certFile, key, cert.Subject.CommonName, now)
	}
	if now.After(cert.NotAfter) {
		return nil, fmt.Errorf("the authority %s ended on %s, and the clock says %s: set the clock, or restore another authority", certFile, cert.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	return &CA{cert: cert, key: key, pem: certPEM}, nil
}

// ReadCA reads the authority name.crt and name.key in dir and never makes one.
func ReadCA(dir, name string) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for _, file := range []string{certFile, keyFile} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
	}
	return LoadCA(dir, name, "", time.Now())
}

func createCA(certFile, keyFile, commonName string, now time.Time) (*CA, error) {
	// A key without its certificate is what a power cut left: keep using it.
	key, err := readKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(keyFile)
	}
	if err != nil {
		return nil, err
	}
	return writeCA(certFile, key, commonName, now)
}

func writeCA(certFile string, key crypto.Signer, commonName string, now time.Time) (*CA, error) {
	serial, err := randomSerial()
	if err != nil {
		return nil, err
	}
	if now.Before(notBeforeBuild) {
		now = notBeforeBuild
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             authoritySince,
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create certificate authority %s: %w", commonName, err)
	}
	certPEM := encodeCert(der)
	if err := WriteFile(certFile, certPEM, 0o644); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key, pem: certPEM}, nil
}

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte { return bytes.Clone(ca.pem) }

// Pool trusts this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Hash is the hex SHA-256 of the authority's certificate (DER); a join token carries it.
func (ca *CA) Hash() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Sign issues a certificate for somebody's public key. Only the key is taken from the asker: what the certificate says
// is the caller's decision, in leaf. It returns the certificate in PEM.
func (ca *CA) Sign(pub crypto.PublicKey, leaf Leaf, now time.Time) ([]byte, error) {
	serial, err := randomSerial()
	if err != nil {
		return nil, err
	}
	lifetime := leaf.Lifetime
	if lifetime == 0 {
		lifetime = LeafLifetime
	}
	notAfter := now.Add(lifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organizations},
		DNSNames:              leaf.DNSNames,
		IPAddresses:           leaf.IPs,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
	}
	if leaf.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if leaf.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", leaf.CommonName, err)
	}
	return encodeCert(der), nil
}

// SignTemplate issues a certificate for somebody's public key that says what template says. The serial number is set here,
// and it does not outlive the authority. Whoever calls this has decided that the asker may be called so.
func (ca *CA) SignTemplate(template *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	copied := *template
	var err error
	if copied.SerialNumber, err = randomSerial(); err != nil {
		return nil, err
	}
	if copied.IsCA {
		return nil, fmt.Errorf("sign certificate for %s: it would be an authority", template.Subject.CommonName)
	}
	if copied.NotAfter.After(ca.cert.NotAfter) {
		copied.NotAfter = ca.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &copied, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", template.Subject.CommonName, err)
	}
	return encodeCert(der), nil
}

// Issue makes a new key and a certificate for it, ready for TLS.
func (ca *CA) Issue(leaf Leaf, now time.Time) (*tls.Certificate, error) {
	certPEM, keyPEM, err := ca.IssuePEM(leaf, now)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", leaf.CommonName, err)
	}
	return &cert, nil
}

// IssuePEM is Issue for those that write it to a file.
func (ca *CA) IssuePEM(leaf Leaf, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if certPEM, err = ca.Sign(key.Public(), leaf, now); err != nil {
		return nil, nil, err
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	return certPEM, keyPEM, nil
}

func randomSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}
