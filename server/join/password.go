package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
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

// SecretRecords keeps each record in the Secret kube-system/<node>.node-password.skiff.
type SecretRecords struct{ Client *client.Client }

const (
	hashKey = "hash"
	keysKey = "keys"
)

func recordSecret(node string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: node + ".node-password.skiff"}, Type: "skiff.io/node-password"}
}

func (p SecretRecords) find(node string) *corev1.Secret {
	want := recordSecret(node)
	have, _ := p.Client.Snapshot().Snapshot.Get(p.Client.KindOf(want), want.Namespace, want.Name).(*corev1.Secret)
	return have
}

func recordOf(s *corev1.Secret) Record {
	if s == nil {
		return Record{}
	}
	return Record{Hash: string(s.Data[hashKey]), Keys: strings.Fields(string(s.Data[keysKey]))}
}

func (r Record) data() map[string][]byte {
	out := map[string][]byte{}
	if r.Hash != "" {
		out[hashKey] = []byte(r.Hash)
	}
	if len(r.Keys) > 0 {
		out[keysKey] = []byte(strings.Join(r.Keys, " "))
	}
	return out
}

// Get implements Records.
func (p SecretRecords) Get(_ context.Context, node string) (Record, error) {
	return recordOf(p.find(node)), nil
}

// Put implements Records.
func (p SecretRecords) Put(ctx context.Context, node string, old, next Record) error {
	have := p.find(node)
	if have == nil {
		want := recordSecret(node)
		want.Data = next.data()
		_, err := p.Client.Create(ctx, want)
		return err
	}
	if stored := recordOf(have); stored.Hash != old.Hash || !slices.Equal(stored.Keys, old.Keys) {
		return fmt.Errorf("another machine joined as %s at the same time", node)
	}
	changed := have.DeepCopy() // carries the resourceVersion it was read at
	changed.Data = next.data()
	_, err := p.Client.Update(ctx, changed)
	return err
}
