package serviceaccounttoken

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "uid"}}
	secret := func(change func(*corev1.Secret)) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", Annotations: map[string]string{corev1.ServiceAccountNameKey: "sa"}}, Type: corev1.SecretTypeServiceAccountToken}
		if change != nil {
			change(s)
		}
		return s
	}
	full := func(s *corev1.Secret) {
		s.Annotations[corev1.ServiceAccountUIDKey] = "uid"
		s.Data = map[string][]byte{"token": []byte("t"), "ca.crt": []byte("ca"), "namespace": []byte("ns")}
	}
	if p := decide(secret(nil), account, []byte("ca")); p.remove || !p.token || p.uid != "uid" || len(p.data) != 2 {
		t.Errorf("an empty one: %+v", p)
	}
	if p := decide(secret(full), account, []byte("ca")); !p.idle() {
		t.Errorf("a full one: %+v", p)
	}
	if p := decide(secret(full), account, []byte("new ca")); p.token || len(p.data) != 1 {
		t.Errorf("another authority: %+v", p)
	}
	if p := decide(secret(full), nil, []byte("ca")); !p.remove {
		t.Errorf("without account: %+v", p)
	}
	if p := decide(secret(func(s *corev1.Secret) { full(s); s.Annotations[corev1.ServiceAccountUIDKey] = "older" }), account, nil); !p.remove {
		t.Errorf("of an earlier account: %+v", p)
	}
	if p := decide(secret(func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }), nil, nil); !p.idle() {
		t.Errorf("of another type: %+v", p)
	}
}
