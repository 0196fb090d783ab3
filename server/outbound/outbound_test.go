package outbound_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/pki"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// target is a webhook behind the Service hooks/w, and a client that reaches it.
type target struct {
	*Env
	*outbound.Client
	server *httptest.Server
	ca     *pki.CA
	dialed []string // "node address"
}

func newTarget(t *testing.T, h http.HandlerFunc) *target {
	w := &target{Env: Start(t, Options{Kinds: api.BuiltIn()})}
	var err error
	if w.ca, err = pki.LoadCA(t.TempDir(), "ca", "test-ca", time.Now()); err != nil {
		t.Fatal(err)
	}
	leaf := pki.NewRotating(w.ca, func() pki.Leaf {
		return pki.Leaf{CommonName: "w", DNSNames: []string{"w.hooks.svc"}, Server: true}
	}, time.Now)
	w.server = httptest.NewUnstartedServer(h)
	cert, err := leaf.Get()
	if err != nil {
		t.Fatal(err)
	}
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.Client = outbound.New(outbound.Config{Catalogue: w.Catalogue, Snapshot: w.Store.Snapshot,
		Dial: func(ctx context.Context, node, address string) (net.Conn, error) {
			w.dialed = append(w.dialed, node+" "+address)
			var d net.Dialer
			return d.DialContext(ctx, "tcp", w.server.Listener.Addr().String())
		}})
	return w
}

func (w *target) service() outbound.Target {
	return outbound.Target{Service: &outbound.Service{Namespace: "hooks", Name: "w", Path: "/check"}, CABundle: w.ca.PEM(), Timeout: 2 * time.Second}
}

// publish makes the Service and a slice that leads to the test's server, and one endpoint that is not ready.
func (w *target) publish() {
	Create(w.Env, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "hooks", Name: "w"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}})
	name, number, node, no := "https", int32(9443), "n1", false
	Create(w.Env, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "hooks", Name: "w-1", Labels: map[string]string{discoveryv1.LabelServiceName: "w"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			{Addresses: []string{"192.0.2.7"}, NodeName: &node},
		}})
}

func TestPostToService(t *testing.T) {
	var got string
	w := newTarget(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.Host + " " + r.RequestURI + " " + string(body)
		fmt.Fprint(rw, "yes")
	})
	if _, err := w.Post(w.Ctx, w.service(), nil); err == nil || !strings.Contains(err.Error(), `services "w" not found`) {
		t.Errorf("without a service: %v", err)
	}
	w.publish()
	for range 2 {
		answer, err := w.Post(w.Ctx, w.service(), []byte("{}"))
		if err != nil || string(answer) != "yes" {
			t.Fatalf("%q %v", answer, err)
		}
	}
	if want := "POST w.hooks.svc:443 /check?timeout=2s {}"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	if want := "n1 192.0.2.7:9443"; len(w.dialed) != 1 || w.dialed[0] != want {
		t.Errorf("dialled %q, want once %q", w.dialed, want)
	}
	other := w.service()
	other.Service = &outbound.Service{Namespace: "hooks", Name: "w", Port: 8443}
	if _, err := w.Post(w.Ctx, other, nil); err == nil || !strings.Contains(err.Error(), `no service port "8443" found`) {
		t.Errorf("a port that the service has not: %v", err)
	}
	unknown := w.service()
	unknown.CABundle = nil
	if _, err := w.Post(w.Ctx, unknown, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the bundle: %v", err)
	}
	unknown.CABundle = []byte("rubbish")
	if _, err := w.Post(w.Ctx, unknown, nil); err == nil || !strings.Contains(err.Error(), "unable to load root certificates") {
		t.Errorf("with a bundle of rubbish: %v", err)
	}
}

func TestPostToHostileTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"slow":    {func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }, "context deadline exceeded"},
		"refuses": {func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "no", 500) }, `an error on the server ("no") has prevented the request from succeeding`},
		"redirects": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://192.0.2.1/", http.StatusFound)
		}, "302"},
		"huge": {func(rw http.ResponseWriter, _ *http.Request) {
			for range 1 << 20 {
				if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "is larger than 8388608 bytes"},
		"drips": {func(rw http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(rw, "a")
				http.NewResponseController(rw).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, "context deadline exceeded"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTarget(t, tc.handler)
			w.publish()
			target := w.service()
			target.Timeout = time.Second
			_, err := w.Post(w.Ctx, target, []byte("{}"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestTransportsAreBounded(t *testing.T) {
	c := outbound.New(outbound.Config{})
	first, base, err := c.Transport(outbound.Target{URL: "https://h0/a"})
	if err != nil || base != "https://h0/a" {
		t.Fatal(base, err)
	}
	for i := range 300 {
		if _, _, err := c.Transport(outbound.Target{URL: fmt.Sprintf("https://h%d", i)}); err != nil {
			t.Fatal(err)
		}
		if same, _, _ := c.Transport(outbound.Target{URL: "https://h0/b"}); same != first {
			t.Fatal("a transport in use was forgotten after", i)
		}
	}
	if _, _, err := c.Transport(outbound.Target{URL: "ftp://x"}); err == nil {
		t.Error("took an ftp URL")
	}
}
