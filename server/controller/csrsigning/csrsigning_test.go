package csrsigning

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func request(t testing.TB, signer string, seconds int32, usages []certificatesv1.KeyUsage, r *x509.CertificateRequest) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	out := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer, Usages: usages}}
	out.Name = "csr"
	if seconds > 0 {
		out.Spec.ExpirationSeconds = &seconds
	}
	out.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	return out
}

func TestDecide(t *testing.T) {
	const (
		sign, encipher   = certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment
		client, serve    = certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth
		clients, kubelet = certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName
		serving          = certificatesv1.KubeletServingSignerName
	)
	node := pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes"}}
	plain := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"devs"}}}
	type usages = []certificatesv1.KeyUsage
	for name, c := range map[string]struct {
		signer  string
		seconds int32
		usages  usages
		request *x509.CertificateRequest
		want    string
	}{
		"client":           {clients, 0, usages{client}, plain, "sign CN=jane O=[devs] DNS=[] IP=[] 2026-11-22T11:55:00Z..2027-11-22T11:55:00Z usage=0 ext=[clientAuth]"},
		"short":            {clients, 600, usages{sign, client}, plain, "sign CN=jane O=[devs] DNS=[] IP=[] 2026-11-22T11:55:00Z..2026-11-22T12:10:00Z usage=1 ext=[clientAuth]"},
		"long":             {clients, 1 << 30, usages{encipher, client}, plain, "sign CN=jane O=[devs] DNS=[] IP=[] 2026-11-22T11:55:00Z..2027-11-22T11:55:00Z usage=4 ext=[clientAuth]"},
		"client, serving":  {clients, 0, usages{client, serve}, plain, "fail: invalid usage for client certificate: server auth"},
		"no client":        {clients, 0, usages{sign}, plain, "fail: missing required usage for client certificate: client auth"},
		"kubelet":          {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: node}, "sign CN=system:node:n O=[system:nodes] DNS=[] IP=[] 2026-11-22T11:55:00Z..2027-11-22T11:55:00Z usage=1 ext=[clientAuth]"},
		"kubelet DNS":      {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: node, DNSNames: []string{"x"}}, "fail: DNS subjectAltNames are not allowed"},
		"kubelet IP":       {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: node, IPAddresses: []net.IP{{1, 2, 3, 4}}}, "fail: IP subjectAltNames are not allowed"},
		"kubelet mail":     {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: node, EmailAddresses: []string{"a@b"}}, "fail: email subjectAltNames are not allowed"},
		"kubelet group":    {kubelet, 0, usages{sign, client}, plain, "fail: subject organization is not system:nodes"},
		"kubelet groups":   {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes", "system:masters"}}}, "fail: subject organization is not system:nodes"},
		"kubelet name":     {kubelet, 0, usages{sign, client}, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "n", Organization: []string{"system:nodes"}}}, "fail: subject common name does not begin with \"system:node:\""},
		"kubelet usage":    {kubelet, 0, usages{sign, client, serve}, &x509.CertificateRequest{Subject: node}, "fail: usages did not match [client auth digital signature key encipherment]"},
		"serving":          {serving, 0, usages{sign, serve}, &x509.CertificateRequest{Subject: node, DNSNames: []string{"n"}, IPAddresses: []net.IP{{1, 2, 3, 4}}}, "sign CN=system:node:n O=[system:nodes] DNS=[n] IP=[1.2.3.4] 2026-11-22T11:55:00Z..2027-11-22T11:55:00Z usage=1 ext=[serverAuth]"},
		"serving nothing":  {serving, 0, usages{sign, serve}, &x509.CertificateRequest{Subject: node}, "fail: DNS or IP subjectAltName is required"},
		"legacy":           {legacySigner, 0, usages{sign, serve, "code signing"}, plain, "sign CN=jane O=[devs] DNS=[] IP=[] 2026-11-22T11:55:00Z..2027-11-22T11:55:00Z usage=1 ext=[serverAuth codeSigning]"},
		"somebody else's":  {"example.org/signer", 0, usages{sign}, plain, "nothing"},
		"rubbish in usage": {legacySigner, 0, usages{"rubbish"}, plain, `fail: unrecognized usage values: ["rubbish"]`},
	} {
		if got := decide(request(t, c.signer, c.seconds, c.usages, c.request), now).String(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	for name, change := range map[string]func(*certificatesv1.CertificateSigningRequest){
		"not approved": func(r *certificatesv1.CertificateSigningRequest) { r.Status.Conditions = nil },
		"denied": func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Conditions[0].Type = certificatesv1.CertificateDenied
		},
		"failed": func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed})
		},
		"signed": func(r *certificatesv1.CertificateSigningRequest) { r.Status.Certificate = []byte("x") },
	} {
		r := request(t, clients, 0, usages{client}, plain)
		change(r)
		if p := decide(r, now); !p.idle() {
			t.Errorf("%s: %s", name, p)
		}
	}
	r := request(t, clients, 0, usages{client}, plain)
	r.Spec.Request[len(r.Spec.Request)/2] ^= 2
	if p := decide(r, now); p.template != nil || !strings.HasPrefix(p.String(), "fail: ") {
		t.Errorf("a broken request: %s", p)
	}
}

func FuzzDecide(f *testing.F) {
	r := request(f, legacySigner, 0, []certificatesv1.KeyUsage{"any"}, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}})
	f.Add(r.Spec.Request)
	f.Fuzz(func(t *testing.T, data []byte) {
		copied := r.DeepCopy()
		copied.Spec.Request = data
		p := decide(copied, now)
		if p.idle() || p.template != nil && p.template.IsCA {
			t.Errorf("%s", p)
		}
	})
}

// TestServingIsChecked: what an approver let through still names nobody else.
func TestServingIsChecked(t *testing.T) {
	s := signer{Config{CheckServing: func(node string, names []string, addresses []net.IP) error {
		if node != "n" || strings.Join(names, " ") != "n" || len(addresses) != 1 {
			return errors.New("it is somebody else's")
		}
		return nil
	}}}
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	for name, ok := range map[string]bool{"n": true, "api.example.com": false} {
		r := request(t, certificatesv1.KubeletServingSignerName, 0, usages, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes"}}, DNSNames: []string{name}, IPAddresses: []net.IP{{192, 0, 2, 1}}})
		if p := s.checkServing(decide(r, now)); (p.failure == "") != ok {
			t.Errorf("%s: %s", name, p)
		}
	}
}
