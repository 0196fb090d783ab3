package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
)

// A hash is "v1:<salt>:<SHA-256 of salt and password>" in hex. Node passwords are long and random, so a slow hash would
// protect nothing.
const hashVersion = "v1"

func newHash(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return hashWith(hex.EncodeToString(salt), password), nil
}

func hashWith(salt, password string) string {
	sum := sha256.Sum256([]byte(salt + password))
	return hashVersion + ":" + salt + ":" + hex.EncodeToString(sum[:])
}

func checkHash(hash, password string) bool {
	parts := strings.Split(hash, ":")
	if len(parts) != 3 || parts[0] != hashVersion {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(hashWith(parts[1], password)), []byte(hash)) == 1
}

// SecretPasswords keeps each hash in the Secret kube-system/<node>.node-password.skiff.
type SecretPasswords struct{ Client *client.Client }

const hashKey = "hash"

func passwordSecret(node string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: node + ".node-password.skiff"}, Type: "skiff.io/node-password"}
}

func (p SecretPasswords) find(node string) *corev1.Secret {
	want := passwordSecret(node)
	have, _ := p.Client.Snapshot().Snapshot.Get(p.Client.KindOf(want), want.Namespace, want.Name).(*corev1.Secret)
	return have
}

// Get implements Passwords.
func (p SecretPasswords) Get(_ context.Context, node string) (string, error) {
	if have := p.find(node); have != nil {
		return string(have.Data[hashKey]), nil
	}
	return "", nil
}

// Put implements Passwords.
func (p SecretPasswords) Put(ctx context.Context, node, old, hash string) error {
	have := p.find(node)
	if have == nil {
		want := passwordSecret(node)
		want.Data = map[string][]byte{hashKey: []byte(hash)}
		_, err := p.Client.Create(ctx, want)
		return err
	}
	if string(have.Data[hashKey]) != old {
		return fmt.Errorf("another machine joined as %s at the same time", node)
	}
	next := have.DeepCopy() // carries the resourceVersion it was read at
	next.Data = map[string][]byte{hashKey: []byte(hash)}
	_, err := p.Client.Update(ctx, next)
	return err
}
