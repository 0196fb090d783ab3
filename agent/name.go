package agent

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// nameFile remembers the name of this machine's node, so that a host that is renamed, or a version that would choose another name, does not make
// another node of it.
func nameFile(p wellknown.Paths) string { return filepath.Join(p.Data, "node-name") }

// defaultName is the name that this machine has had as a node, or else the whole host name: two hosts box.site-a and box.site-b are two nodes.
func defaultName(p wellknown.Paths, hostname func() (string, error)) (string, error) {
	raw, err := os.ReadFile(nameFile(p))
	if name := strings.TrimSpace(string(raw)); err == nil && name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if name := joinedName(p); name != "" {
		return name, nil
	}
	host, err := hostname()
	if err != nil {
		return "", err
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ranBefore(p) {
		host, _, _ = strings.Cut(host, ".") // as versions did that remembered nothing
	}
	return host, nil
}

// joinedName is the name in the client certificate of a node that has joined; "" if it has none.
func joinedName(p wellknown.Paths) string {
	raw, err := os.ReadFile(filepath.Join(p.AgentTLS(), "client.pem"))
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	name, _ := strings.CutPrefix(cert.Subject.CommonName, wellknown.UserNodePrefix)
	return name
}

// ranBefore tells whether this machine has been a server, or has run pods.
func ranBefore(p wellknown.Paths) bool {
	for _, dir := range []string{filepath.Join(p.Etcd(), "member"), p.Pods()} {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return false
}

// RememberName writes the node's name down, for the next start that is not told one.
func (c *Config) RememberName() error {
	file := nameFile(c.Paths)
	if raw, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(raw)) == c.NodeName {
		return nil
	}
	if err := os.MkdirAll(c.Paths.Data, 0o711); err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(c.NodeName+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
