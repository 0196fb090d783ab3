package pki

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// RandomToken is a secret of 32 hex characters, for joining.
func RandomToken() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// LoadSecret reads a one-line secret from a file, or makes a random one there (0600).
func LoadSecret(file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err := RandomToken()
		if err != nil {
			return "", err
		}
		return secret, WriteFile(file, []byte(secret+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(data))
	return secret, CheckSecret(file, secret)
}
