package server

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/pki"
)

func serverIn(t *testing.T, dir string) (*Server, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var cfg Config
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	cfg.AddFlags(flags)
	if err := flags.Parse([]string{"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--tls-san=api.example.com,*.edge.example.com,192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	cfg.Paths = wellknown.Paths{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Config: filepath.Join(dir, "etc")}
	cfg.NodeName, cfg.Port = "server-1", l.Addr().(*net.TCPAddr).Port
	return New(cfg)
}

// running runs a server until stop.
func running(t *testing.T, dir string) (s *Server, stop func()) {
	t.Helper()
	s, err := serverIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(5 * time.Minute):
		t.Fatal("not ready after five minutes")
	}
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestServingNames: by a running server's own objects, no certificate of a kubelet names it, a Service or another node; and no client of the API accepts one.
func TestServingNames(t *testing.T) {
	s, stop := running(t, t.TempDir())
	defer stop()
	ctx := t.Context()
	for _, n := range []*corev1.Node{
		{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.11"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "n2"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.12"}, {Type: corev1.NodeHostName, Address: "n2.example.com"}}}},
		// A node writes what it likes about itself.
		{ObjectMeta: metav1.ObjectMeta{Name: "n3"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.12"}, {Type: corev1.NodeHostName, Address: "n2.example.com"}}}},
	} {
		made, err := s.client.Create(ctx, n.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.Mutate(ctx, made, "status", func(obj api.Object) error {
			obj.(*corev1.Node).Status.Addresses = n.Status.Addresses
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		names, addresses string
		ok               bool
	}{
		{"n1", "192.0.2.11", true}, {"n1 localhost", "127.0.0.1", true}, {"n1.example.com", "", true},
		{"api.example.com", "", false}, {"a.edge.example.com", "", false}, {"server-1", "", false}, {"kubernetes.default", "", false}, {"kube-dns.kube-system", "", false}, {"x.svc", "", false},
		{"n2", "", false}, {"n2.example.com", "", false}, {"*.example.com", "", false},
		{"n1", "192.0.2.1", false}, {"n1", "192.0.2.12", false}, {"n1", "10.43.0.1", false}, {"n1", "10.43.0.10", false},
	} {
		var ips []net.IP
		for a := range strings.FieldsSeq(c.addresses) {
			ips = append(ips, net.ParseIP(a))
		}
		if err := s.checkServing("n1", strings.Fields(c.names), ips); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.names, c.addresses, err)
		}
	}

	if err := s.checkServing("n2", []string{"n2", "n2.example.com"}, []net.IP{net.ParseIP("192.0.2.12")}); err != nil {
		t.Errorf("a later node took its names away: %v", err)
	}
	if err := s.checkServing("n3", []string{"n3"}, []net.IP{net.ParseIP("192.0.2.12")}); err == nil {
		t.Error("a node got the address of an earlier one because it claims it")
	}

	cert, err := s.KubeletServing("n1", func() []string { return []string{"192.0.2.11"} }).Get()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: s.ca.Pool(), DNSName: "n1"}); err == nil {
		t.Error("clients of the API accept a kubelet's certificate")
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: s.kubeletTLS().RootCAs, DNSName: "n1"}); err != nil {
		t.Errorf("the server does not accept it: %v", err)
	}
}

// TestMissingKeys: a server with data does not start without a key, and says which.
func TestMissingKeys(t *testing.T) {
	dir := t.TempDir()
	_, stop := running(t, dir)
	stop()
	if _, err := serverIn(t, dir); err != nil {
		t.Fatalf("nothing is missing: %v", err)
	}
	tls := filepath.Join(dir, "data", "server", "tls")
	for _, name := range []string{"ca.crt", "ca.key", "front-proxy-ca.key", "kubelet-ca.crt", "service-account.key", "encryption.json", "../agent-token", "../token"} {
		file := filepath.Join(tls, name)
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := serverIn(t, dir)
		var missing *pki.MissingKeyError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), filepath.Base(name)) || !strings.Contains(err.Error(), "Restore") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s was made anew", name)
		}
		if err := os.WriteFile(file, make([]byte, 40), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := serverIn(t, dir); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("%s of NUL bytes: %v", name, err)
		}
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := serverIn(t, dir); err != nil {
		t.Errorf("all is back: %v", err)
	}

	// Without etcd's folder the mark beside it still tells of the cluster.
	if err := os.Rename(filepath.Join(dir, "data", "server", "etcd"), filepath.Join(dir, "etcd.away")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.key", "service-account.key", "encryption.json"} {
		file := filepath.Join(tls, name)
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := serverIn(t, dir)
		var missing *pki.MissingKeyError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "etcd.begun") {
			t.Errorf("without data and %s: %v", name, err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("without data %s was made anew", name)
		}
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
}
