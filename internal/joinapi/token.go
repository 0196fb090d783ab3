package joinapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Users of a token.
const (
	// UserServer joins servers and agents, UserNode joins agents only.
	UserServer = "server"
	UserNode   = "node"
)

const (
	tokenPrefix = "SK10"
	hashLength  = 2 * sha256.Size
)

// ErrToken: it is no join token.
var ErrToken = errors.New("invalid join token")

// Token joins a machine to a cluster: SK10<hash>::<user>:<secret>.
type Token struct {
	// Hash is the hex SHA-256 of the cluster's CA bundle; "" in a short token, which is only the secret.
	Hash   string
	User   string
	Secret string
}

// String is the token as a person passes it on.
func (t Token) String() string {
	if t.Hash == "" {
		return t.Secret
	}
	return tokenPrefix + t.Hash + "::" + t.User + ":" + t.Secret
}

// ParseToken reads a token. Without the prefix the whole text is a secret, and the CA cannot be verified with it.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		if s == "" || strings.Contains(s, ":") || strings.ContainsFunc(s, unprintable) {
			return Token{}, fmt.Errorf("%w: a secret must be one word of printable characters without colons", ErrToken)
		}
		return Token{User: UserNode, Secret: s}, nil
	}
	hash, credentials, ok := strings.Cut(rest, "::")
	user, secret, ok2 := strings.Cut(credentials, ":")
	if !ok || !ok2 || user == "" || secret == "" || strings.ContainsFunc(secret, unprintable) {
		return Token{}, fmt.Errorf("%w: it must look like %s<CA hash>::<user>:<secret>", ErrToken, tokenPrefix)
	}
	if _, err := hex.DecodeString(hash); err != nil || len(hash) != hashLength {
		return Token{}, fmt.Errorf("%w: the CA hash must be %d hex digits", ErrToken, hashLength)
	}
	return Token{Hash: strings.ToLower(hash), User: user, Secret: secret}, nil
}

// unprintable characters are in no token: a file of NUL bytes, as a power cut leaves it, is none.
func unprintable(c rune) bool { return c < '!' || c > '~' }

// HashBundle is the hex SHA-256 of all certificates (DER) of a PEM bundle, one after the other.
func HashBundle(bundle []byte) (string, error) {
	h, n := sha256.New(), 0
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			h.Write(block.Bytes)
			n++
		}
	}
	if n == 0 {
		return "", errors.New("the CA bundle holds no certificate")
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
