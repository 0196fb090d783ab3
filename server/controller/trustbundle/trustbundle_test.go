package trustbundle_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/trustbundle"
)

func authority(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTheAuthorityIsPublishedAndNothingElse(t *testing.T) {
	ours, other := authority(t), authority(t)
	w := Start(t, func(func() time.Time) []controller.Controller {
		return []controller.Controller{trustbundle.New(trustbundle.APIServerServing, []byte(ours))}
	})
	const signer = "kubernetes.io/kube-apiserver-serving"
	Create(w, &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes.io:kube-apiserver-serving:old"},
		Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: other}})
	Create(w, &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: other}})
	Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
	check := func() string {
		var signed []*certificatesv1.ClusterTrustBundle
		for _, b := range List[*certificatesv1.ClusterTrustBundle](w) {
			if b.Spec.SignerName == signer {
				signed = append(signed, b)
			}
		}
		if len(signed) != 1 || signed[0].Spec.TrustBundle != ours {
			return "it is not the one bundle of the signer"
		}
		return ""
	}
	w.Eventually(check)
	for _, b := range List[*certificatesv1.ClusterTrustBundle](w) {
		if b.Spec.SignerName == signer {
			Mutate(w, b, "", func(b *certificatesv1.ClusterTrustBundle) { b.Spec.TrustBundle = other })
		}
	}
	w.Eventually(check)
	if !Exists(w, &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}) {
		t.Error("another's bundle is gone")
	}
	w.Idle()
}
