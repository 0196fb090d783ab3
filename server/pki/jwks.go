package pki

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
)

// JWK is one public key in the form of RFC 7517.
type JWK struct {
	Use string `json:"use"`
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
}

// JWKS returns the public keys that verify tokens, sorted by id.
func (t *TokenIssuer) JWKS() []JWK {
	var set []JWK
	b64 := base64.RawURLEncoding.EncodeToString
	for kid, pub := range t.keys.Load().public {
		method, err := signingMethod(pub)
		if err != nil {
			continue
		}
		jwk := JWK{Use: "sig", Kid: kid, Alg: method.Alg()}
		switch key := pub.(type) {
		case *ecdsa.PublicKey:
			point, err := key.Bytes() // 4, X, Y
			if err != nil {
				continue
			}
			half := len(point) / 2
			jwk.Kty, jwk.Crv = "EC", key.Curve.Params().Name
			jwk.X, jwk.Y = b64(point[1:1+half]), b64(point[1+half:])
		case *rsa.PublicKey:
			jwk.Kty = "RSA"
			jwk.N, jwk.E = b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes())
		}
		set = append(set, jwk)
	}
	slices.SortFunc(set, func(a, b JWK) int { return strings.Compare(a.Kid, b.Kid) })
	return set
}

// Algorithms that the keys sign with, sorted.
func (t *TokenIssuer) Algorithms() (algs []string) {
	for _, k := range t.JWKS() {
		if !slices.Contains(algs, k.Alg) {
			algs = append(algs, k.Alg)
		}
	}
	slices.Sort(algs)
	return algs
}
