package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	seedSize  = 32
	infoSize  = 32
	nonceSize = 12
)

// errOpen does not say what is wrong: it cannot be told, nor should it.
var errOpen = errors.New("message authentication failed")

// opener is a decrypted source.
type opener interface {
	open(data, authenticated []byte) ([]byte, error)
}

// newOpener checks what a plugin has decrypted.
func newOpener(kind uint64, plain []byte) (opener, error) {
	if kind == sourceKey {
		aead, err := newGCM(plain)
		return fixedKey{aead}, err
	}
	if len(plain) < seedSize {
		return nil, fmt.Errorf("the plugin decrypted %d bytes, which are no seed", len(plain))
	}
	return seed(plain), nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

type fixedKey struct{ cipher.AEAD }

func (k fixedKey) open(data, authenticated []byte) ([]byte, error) {
	if len(data) < nonceSize {
		return nil, errors.New("the stored data is shorter than the nonce")
	}
	plain, err := k.Open(nil, data[:nonceSize], data[nonceSize:], authenticated)
	if err != nil {
		return nil, errOpen
	}
	return plain, nil
}

// seed is what each value's own key is made from.
type seed []byte

func newSeed() (seed, error) {
	s := make(seed, seedSize)
	_, err := rand.Read(s)
	return s, err
}

func (s seed) key(info []byte) (fixedKey, error) {
	key, err := hkdf.Expand(sha256.New, s, string(info), 32)
	if err != nil {
		return fixedKey{}, err
	}
	aead, err := newGCM(key)
	return fixedKey{aead}, err
}

func (s seed) open(data, authenticated []byte) ([]byte, error) {
	if len(data) < infoSize {
		return nil, errors.New("the stored data is shorter than what its key is made from")
	}
	key, err := s.key(data[:infoSize])
	if err != nil {
		return nil, err
	}
	return key.open(data[infoSize:], authenticated)
}

// seal returns info, nonce, ciphertext and tag.
func (s seed) seal(plain, authenticated []byte) ([]byte, error) {
	out := make([]byte, infoSize+nonceSize, infoSize+nonceSize+len(plain)+16)
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	key, err := s.key(out[:infoSize])
	if err != nil {
		return nil, err
	}
	return key.Seal(out, out[infoSize:], plain, authenticated), nil
}
