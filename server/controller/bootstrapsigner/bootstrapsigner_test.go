package bootstrapsigner

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	token := func(id, until, signing string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken, Data: map[string][]byte{
			"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte(signing), "expiration": []byte(until)}}
	}
	info := &corev1.ConfigMap{Data: map[string]string{"kubeconfig": "content", "jws-kubeconfig-old": "x", "other": "stays"}}
	data := decide(info, []*corev1.Secret{token("abcdef", "2027-01-01T00:00:00Z", "true"), token("expird", "2026-01-01T00:00:00Z", "true"), token("unused", "", "false")}, now)
	if len(data) != 3 || data["other"] != "stays" {
		t.Fatalf("%v", data)
	}
	header, signature, ok := strings.Cut(data["jws-kubeconfig-abcdef"], "..")
	if !ok {
		t.Fatalf("not detached: %v", data)
	}
	whole := header + "." + base64.RawURLEncoding.EncodeToString([]byte("content"))
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	if err := jwt.SigningMethodHS256.Verify(whole, raw, []byte("0123456789abcdef")); err != nil {
		t.Error(err)
	}
	if len(decide(&corev1.ConfigMap{}, nil, now)) != 0 {
		t.Error("nothing to sign, and signed")
	}
}
