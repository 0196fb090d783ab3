package apiserver_test

import (
	"bufio"
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

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/pki"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// clientOf is an HTTPS client with a certificate of the CA.
func clientOf(t *testing.T, ca *pki.CA, leaf pki.Leaf) *http.Client {
	t.Helper()
	leaf.Client = true
	cert, err := ca.Issue(leaf, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{*cert}}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestRunServesTLSAndEndsItsStreams(t *testing.T) {
	ca, err := pki.LoadCA(t.TempDir(), "ca", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.LoadCA(t.TempDir(), "ca", "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	serving := pki.NewRotating(ca, func() pki.Leaf {
		return pki.Leaf{CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}
	}, time.Now)
	e := newEnv(t, func(c *apiserver.Config) {
		c.GetCertificate, c.ClientCAs = serving.GetCertificate, ca.Pool()
		c.Authenticators = []authn.Authenticator{authn.NewCertificates(ca.Pool(), time.Now)}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, ln) }()
	url := "https://" + ln.Addr().String()

	master := clientOf(t, ca, pki.Leaf{CommonName: "root", Organizations: []string{"system:masters"}})
	watch, err := master.Get(url + "/api/v1/configmaps?watch=1")
	if err != nil || watch.StatusCode != 200 || watch.ProtoMajor != 2 {
		t.Fatalf("watch: %v %v", watch, err)
	}
	defer watch.Body.Close()
	for name, want := range map[string]struct {
		client *http.Client
		code   int
	}{
		"master":      {master, 200},
		"nobody":      {clientOf(t, ca, pki.Leaf{CommonName: "jane"}), 403},
		"foreign CA":  {foreign(t, ca, other), 401},
		"certificate": {clientOf(t, ca, pki.Leaf{Organizations: []string{"system:masters"}}), 401},
	} {
		resp, err := want.client.Get(url + "/api/v1/namespaces")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want.code {
			t.Errorf("%s: got %d, want %d", name, resp.StatusCode, want.code)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(watch.Body); err != nil || len(rest) != 0 {
		t.Errorf("the watch did not end cleanly: %q %v", rest, err)
	}
}

// foreign trusts the server's CA and shows a certificate of another.
func foreign(t *testing.T, ca, other *pki.CA) *http.Client {
	c := clientOf(t, other, pki.Leaf{CommonName: "root", Organizations: []string{"system:masters"}})
	config := c.Transport.(*http.Transport).TLSClientConfig
	config.RootCAs = ca.Pool()
	cert := config.Certificates[0] // sent although the server does not ask for one of its authority
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c
}

// fakeKubelet answers with the URL it was called by, and accepts any upgrade.
func fakeKubelet(t *testing.T) net.Listener {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n%s\n", r.Header.Get("Upgrade"), r.URL.RequestURI())
			_ = conn.Close()
			return
		}
		if strings.Contains(r.URL.Path, "/bad/") {
			http.Error(w, `container "c" in pod "bad" is waiting to start`, 400)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.RequestURI())
	}))
	t.Cleanup(srv.Close)
	return srv.Listener
}

func TestStreamsReachTheKubelet(t *testing.T) {
	kubelet, dialed := fakeKubelet(t), ""
	e := newEnv(t, func(c *apiserver.Config) {
		c.KubeletTLS = func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
		c.DialNode = func(_ context.Context, node, address string) (net.Conn, error) {
			dialed = node + " " + address
			return net.Dial("tcp", kubelet.Addr().String())
		}
	})
	e.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	w := e.do("PATCH", "/api/v1/nodes/n1/status", `{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.9"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10299}}}}`,
		"Content-Type: application/merge-patch+json")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, name := range []string{"p", "bad"} {
		e.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: "n1",
			Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	}
	e.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "waiting"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}, {Name: "d", Image: "i"}}}})
	const pods = "/api/v1/namespaces/default/pods/"
	for _, c := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", pods + "p/log?follow=true&tailLines=5&container=c", 200, "GET /containerLogs/default/p/c?follow=true&tailLines=5"},
		{"GET", pods + "p/log?container=x", 400, "container x is not valid for pod p"},
		{"GET", pods + "p/log?tailLines=-1", 422, "must be greater than or equal to 0"},
		{"GET", pods + "bad/log", 400, `container \"c\" in pod \"bad\" is waiting to start`},
		{"GET", pods + "waiting/log", 400, "a container name must be specified for pod waiting, choose one of: [c d]"},
		{"GET", pods + "waiting/log?container=c", 204, ""},
		{"POST", pods + "waiting/exec?command=ls&container=c", 400, "pod waiting does not have a host assigned"},
		{"POST", pods + "p/exec", 400, "you must specify at least 1 command for the container"},
		{"GET", "/api/v1/nodes/n1/proxy/stats/summary?x=1", 200, "GET /stats/summary?x=1"},
		{"GET", "/api/v1/nodes/none/proxy/x", 404, `nodes \"none\" not found`},
		{"GET", "/api/v1/namespaces/default/services/none/proxy/", 404, `services \"none\" not found`},
	} {
		w := e.do(c.method, c.path, "")
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.path, w.Code, w.Body, c.code, c.want)
		}
	}
	if dialed != "n1 10.0.0.9:10299" {
		t.Errorf("dialed %q", dialed)
	}
	front := httptest.NewServer(e.Handler())
	defer front.Close()
	for path, want := range map[string]string{
		"p/exec?command=ls&command=-l&stdin=true&stdout=true&stderr=false&tty=1": "/exec/default/p/c?command=ls&command=-l&input=1&output=1&tty=1",
		"p/attach?container=c&stdout=1":                                          "/attach/default/p/c?output=1",
		"p/portforward?ports=80":                                                 "/portForward/default/p?port=80",
	} {
		if got := upgrade(t, front.Listener.Addr().String(), pods+path); got != want {
			t.Errorf("%s: kubelet got %s, want %s", path, got, want)
		}
	}
}

// upgrade asks for SPDY and returns the first line of the stream.
func upgrade(t *testing.T, address, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n", path)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s: %v %v", path, resp, err)
	}
	line, _ := br.ReadString('\n')
	return strings.TrimSpace(line)
}

func TestServiceProxy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.URL) }))
	defer backend.Close()
	dialed := ""
	e := newEnv(t, func(c *apiserver.Config) {
		c.DialNode = func(_ context.Context, node, address string) (net.Conn, error) {
			dialed = node + " " + address
			return net.Dial("tcp", backend.Listener.Addr().String())
		}
	})
	e.create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{ClusterIP: "None",
		Ports: []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "other", Port: 81}}}})
	node, ready, notReady, port, name := "n1", true, false, int32(8080), "web"
	e.create(t, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.5"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}},
			{Addresses: []string{"10.42.0.6"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &notReady}}}})
	for id, want := range map[string]int{"s:web": 200, "s:80": 200, "http:s:web": 200, "s:other": 503, "s:none": 503, "s": 503, "x:s:web": 400} {
		w := e.do("DELETE", "/api/v1/namespaces/default/services/"+id+"/proxy/a/b?c=d", "")
		if w.Code != want || want == 200 && w.Body.String() != "DELETE /a/b?c=d" {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
	if dialed != "n1 10.42.0.5:8080" {
		t.Errorf("dialed %q", dialed)
	}
}
