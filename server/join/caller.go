package join

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// owner is the node whose client certificate the caller shows. One that has expired is good for this if the node is there and its key is the last that the
// node had: so a machine comes back that was off for years.
func (h *Handler) owner(r *http.Request) (string, error) {
	node, err := joinapi.NodeOf(r.TLS, h.cfg.CA.Pool(), h.cfg.Now())
	if err == nil {
		return node, nil
	}
	leaf, old := joinapi.ExpiredNodeOf(r.TLS, h.cfg.CA.Pool(), h.cfg.Now())
	if old == "" || h.cfg.NodeExists == nil || !h.cfg.NodeExists(old) {
		return "", err
	}
	record, getErr := h.cfg.Records.Get(r.Context(), old)
	if getErr != nil || !slices.Contains(record.Keys, keyHash(leaf.PublicKey)) {
		return "", err
	}
	h.cfg.Log.Info("a node whose certificate has expired comes back by its key", "node", old, "expired", leaf.NotAfter)
	return old, nil
}

// keyHash is the hex SHA-256 of a public key; "" of none.
func keyHash(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// hasToken takes HTTP basic (user and secret of the token) or bearer (the whole token). Both kinds join a node.
func (h *Handler) hasToken(r *http.Request) bool {
	user, secret, ok := r.BasicAuth()
	if !ok {
		bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := joinapi.ParseToken(bearer)
		if !found || err != nil {
			return false
		}
		user, secret = token.User, token.Secret
	}
	// A short token is a secret that does not say of which kind it is, so the kind is not held against it.
	server, agent := same(secret, h.cfg.ServerSecret()), same(secret, h.cfg.AgentSecret())
	return (user == joinapi.UserServer || user == joinapi.UserNode) && server|agent == 1
}

// same compares in constant time, whatever the lengths; an empty secret equals nothing.
func same(got, want string) int {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	if want == "" {
		return 0
	}
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// checkPassword returns the hash to remember: the one that the password fits, or a new one for a name that nobody has.
func (h *Handler) checkPassword(node, password, hash string) (string, error) {
	if len(password) < 16 || len(password) > 256 || strings.ContainsFunc(password, func(c rune) bool { return c < '!' || c > '~' }) {
		return "", refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "the node password must have 16 to 256 printable characters")
	}
	if hash != "" && checkHash(hash, password) {
		return hash, nil
	}
	if h.cfg.NodeExists != nil && h.cfg.NodeExists(node) {
		return "", refuse(http.StatusConflict, joinapi.ReasonNameTaken,
			"node name %q is taken by a machine with another node password; if that machine was reinstalled, run \"kubectl delete node %s\" first, otherwise choose another --node-name", node, node)
	}
	return newHash(password)
}
