package encrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// magic opens every encrypted value, whatever the provider.
const magic = "k8s:enc:"

// errOpen says nothing of why: whether key, nonce or text is wrong cannot be told apart, nor should it.
var errOpen = errors.New("message authentication failed")

// box seals with one key.
type box interface {
	// seal appends the sealed plain text to dst. data is authenticated, where the box can do that.
	seal(dst, plain, data []byte) ([]byte, error)
	open(sealed, data []byte) ([]byte, error)
}

type gcm struct{ cipher.AEAD }

func newGCM(secret []byte) (box, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return gcm{aead}, err
}

func (g gcm) seal(dst, plain, data []byte) ([]byte, error) {
	var nonce [12]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	return g.Seal(append(dst, nonce[:]...), nonce[:], plain, data), nil
}

func (g gcm) open(sealed, data []byte) ([]byte, error) {
	n := g.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("the stored data is shorter than the nonce")
	}
	plain, err := g.Open(nil, sealed[:n], sealed[n:], data)
	if err != nil {
		return nil, errOpen
	}
	return plain, nil
}

type nacl struct{ key [32]byte }

func newNaCl(secret []byte) (box, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("a secretbox key has 32 bytes, not %d", len(secret))
	}
	return &nacl{[32]byte(secret)}, nil
}

func (b *nacl) seal(dst, plain, _ []byte) ([]byte, error) {
	var nonce [24]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	return secretbox.Seal(append(dst, nonce[:]...), plain, &nonce, &b.key), nil
}

func (b *nacl) open(sealed, _ []byte) ([]byte, error) {
	if len(sealed) < 24 {
		return nil, errors.New("the stored data is shorter than the nonce")
	}
	nonce := [24]byte(sealed)
	plain, ok := secretbox.Open(nil, sealed[24:], &nonce, &b.key)
	if !ok {
		return nil, errOpen
	}
	return plain, nil
}

// cbc is not authenticated. It is here because data of other distributions are often written with it.
type cbc struct{ block cipher.Block }

func newCBC(secret []byte) (box, error) {
	block, err := aes.NewCipher(secret)
	return cbc{block}, err
}

func (c cbc) seal(dst, plain, _ []byte) ([]byte, error) {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	start := len(dst)
	dst = append(dst, make([]byte, aes.BlockSize)...)
	iv := dst[start:]
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	dst = append(append(dst, plain...), bytes.Repeat([]byte{byte(pad)}, pad)...)
	body := dst[start+aes.BlockSize:]
	cipher.NewCBCEncrypter(c.block, dst[start:start+aes.BlockSize]).CryptBlocks(body, body)
	return dst, nil
}

func (c cbc) open(sealed, _ []byte) ([]byte, error) {
	const size = aes.BlockSize
	if len(sealed) < 2*size || len(sealed)%size != 0 {
		return nil, errors.New("the stored data is not a whole number of blocks")
	}
	plain := make([]byte, len(sealed)-size)
	cipher.NewCBCDecrypter(c.block, sealed[:size]).CryptBlocks(plain, sealed[size:])
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > size || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("invalid padding on input")
	}
	return plain[:len(plain)-pad], nil
}
