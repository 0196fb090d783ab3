// Package samples has a small valid object of every kind that clients may create, for tests that go through all of them. A new
// kind needs one in kinds.yaml.
package samples

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

//go:embed kinds.yaml
var kinds string

// All returns the objects in JSON, by kind.
func All() (map[schema.GroupVersionKind][]byte, error) {
	text, err := certified(kinds)
	if err != nil {
		return nil, err
	}
	out := map[schema.GroupVersionKind][]byte{}
	for _, doc := range strings.Split(text, "\n---\n") {
		var head metav1.TypeMeta
		body, err := yaml.YAMLToJSON([]byte(doc))
		if err == nil {
			err = json.Unmarshal(body, &head)
		}
		if err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, doc)
		}
		out[head.GroupVersionKind()] = body
	}
	return out, nil
}

// certified fills in certificates and requests for them.
func certified(text string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	ca, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return strings.NewReplacer(
		"${CSR}", b64(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})),
		"${DER}", b64(request),
		"${CA}", strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})), "\n", `\n`),
	).Replace(text), nil
}
