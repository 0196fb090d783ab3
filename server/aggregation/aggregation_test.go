package aggregation

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/openapi"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/pki"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// cluster has an Aggregator, and another server behind the Service far/metrics.
type cluster struct {
	*Env
	*Aggregator
	t         *testing.T
	client    *client.Client
	far       *httptest.Server
	ca, front *pki.CA
	discovery *discovery.Documents
	openapi   *openapi.Documents
	handler   atomic.Pointer[http.HandlerFunc]
	metrics   *prometheus.Registry
}

var admin = &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters"}}

func newCluster(t *testing.T) *cluster {
	c := &cluster{Env: Start(t, Options{Kinds: api.BuiltIn()}), t: t, metrics: prometheus.NewRegistry()}
	var err error
	for name, ca := range map[string]**pki.CA{"ca": &c.ca, "front": &c.front} {
		if *ca, err = pki.LoadCA(t.TempDir(), name, "test-"+name, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := c.ca.Issue(pki.Leaf{CommonName: "metrics", DNSNames: []string{"metrics.far.svc"}, Server: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.answer(serveMetrics)
	c.far = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*c.handler.Load())(w, r) }))
	c.far.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	c.far.StartTLS()
	t.Cleanup(c.far.Close)
	front := pki.NewRotating(c.front, func() pki.Leaf { return pki.Leaf{CommonName: FrontProxyName, Client: true} }, time.Now)
	out := outbound.New(outbound.Config{Catalogue: c.Catalogue, Snapshot: c.Store.Snapshot, FrontProxy: front.GetClientCertificate,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", c.far.Listener.Addr().String())
		}})
	c.client = client.New(c.Registry, c.Store, c.Catalogue, nil, admin)
	if c.Aggregator, err = New(Config{Client: c.client, Outbound: out, ClientCA: c.ca.PEM, FrontProxyCA: c.front.PEM, Metrics: c.metrics}); err != nil {
		t.Fatal(err)
	}
	c.discovery, c.openapi = discovery.New(c.Catalogue), openapi.New(c.Catalogue, "v1")
	c.PublishTo(c.discovery, c.openapi)
	for _, ns := range []string{"far", "kube-system"} {
		Create(c.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		rt, _, _ := out.Transport(targetOf(c.service("far", "metrics")))
		rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	})
	return c
}

func (c *cluster) answer(h http.HandlerFunc) { c.handler.Store(&h) }

const metricsPath = "/apis/metrics.k8s.io/v1beta1"

// serveMetrics is a small metrics server.
func serveMetrics(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == metricsPath:
		_ = json.NewEncoder(w).Encode(metav1.APIResourceList{GroupVersion: "metrics.k8s.io/v1beta1", APIResources: []metav1.APIResource{
			{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "PodMetrics", Verbs: []string{"get", "list"}},
			{Name: "pods/usage", Namespaced: true, Kind: "Usage", Verbs: []string{"get"}}}})
	case r.URL.Path == "/openapi/v3"+metricsPath:
		_, _ = io.WriteString(w, `{"openapi":"3.0.0","info":{"title":"metrics"},"paths":{}}`)
	case r.URL.Path == "/openapi/v2":
		_, _ = io.WriteString(w, `{"swagger":"2.0","paths":{"/api/v1/pods":{"x-hostile":true},"/apis/metrics.k8s.io/v1beta1/pods":{"x-mine":true}},"definitions":{"far.PodMetrics":{"type":"object"}}}`)
	case r.Header.Get("Upgrade") == "echo":
		conn, rw, _ := http.NewResponseController(w).Hijack()
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	case strings.HasSuffix(r.URL.Path, "/moved"):
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
	default:
		certificate := ""
		if len(r.TLS.PeerCertificates) > 0 {
			certificate = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s %s by %s: user=%s uid=%s groups=%v extra=%v auth=%q", r.Method, r.URL.RequestURI(), certificate, r.Header.Get("X-Remote-User"),
			r.Header.Get("X-Remote-Uid"), r.Header["X-Remote-Group"], r.Header["X-Remote-Extra-Example.com%2fscopes"], r.Header.Get("Authorization"))
	}
}

func (c *cluster) service(namespace, name string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1beta1.metrics.k8s.io"}, Spec: apiregistrationv1.APIServiceSpec{
		Group: "metrics.k8s.io", Version: "v1beta1", GroupPriorityMinimum: 100, VersionPriority: 100, CABundle: c.ca.PEM(),
		Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: name, Port: ptr.To[int32](443)}}}
}

func (c *cluster) publishService() {
	Create(c.Env, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "far", Name: "metrics"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}})
}

func (c *cluster) publishEndpoints() {
	Create(c.Env, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "far", Name: "metrics-1", Labels: map[string]string{discoveryv1.LabelServiceName: "metrics"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](9443)}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.7"}}}})
}

// becomes waits for the reason of the condition.
func (c *cluster) becomes(reason string) {
	c.t.Helper()
	have := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s, ok := client.Get[*apiregistrationv1.APIService](c.client.Snapshot(), "", "v1beta1.metrics.k8s.io"); ok {
			if cond := condition(s); cond != nil {
				if have = cond.Reason + ": " + cond.Message; cond.Reason == reason && isAvailable(s) == (reason == "Passed") {
					time.Sleep(20 * time.Millisecond) // the loop reads its own write
					return
				}
			}
		}
	}
	c.t.Fatalf("the reason is %s, not %s", have, reason)
}

// do sends a request as jane through the aggregator.
func (c *cluster) do(path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	jane := &user.DefaultInfo{Name: "jane", UID: "42", Groups: []string{"a", "b"}, Extra: map[string][]string{"example.com/scopes": {"x"}}}
	if !c.Serve(w, r, "metrics.k8s.io", "v1beta1", jane) {
		w.Code = http.StatusNotFound
	}
	return w
}

// sum of a metric's samples that have a label value.
func (c *cluster) sum(name, value string) (sum float64) {
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, label := range m.Label {
				if f.GetName() == name && label.GetValue() == value {
					sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func TestAvailability(t *testing.T) {
	c := newCluster(t)
	if w := c.do(metricsPath + "/pods"); w.Code != 404 {
		t.Errorf("before there is an API service: %d", w.Code)
	}
	Create(c.Env, c.service("far", "metrics"))
	c.becomes("ServiceNotFound")
	if w := c.do(metricsPath + "/pods"); w.Code != 503 || w.Body.String() != "service unavailable\n" {
		t.Errorf("without its service: %d %s", w.Code, w.Body)
	}
	c.publishService()
	c.becomes("EndpointsNotFound")
	c.publishEndpoints()
	c.becomes("Passed")
	if w := c.do(metricsPath + "/pods?limit=1"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if served, failed := c.Resources(); len(failed) != 0 || len(served) != 1 || served[0].String() != "metrics.k8s.io/v1beta1, Resource=pods" || !served[0].Namespaced || served[0].Kind != "PodMetrics" || served[0].Can("list", "delete") {
		t.Errorf("resources %+v, failed %v", served, failed)
	}
	c.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })
	svc := c.service("far", "metrics")
	if _, err := c.client.Mutate(t.Context(), svc, "", func(obj api.Object) error {
		obj.(*apiregistrationv1.APIService).Spec.InsecureSkipTLSVerify, obj.(*apiregistrationv1.APIService).Spec.CABundle = true, nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.becomes("FailedDiscoveryCheck")
	if served, failed := c.Resources(); len(served) != 0 || len(failed) != 1 || failed[0] != gv("metrics.k8s.io", "v1beta1") {
		t.Errorf("of a server that does not answer: resources %+v, failed %v", served, failed)
	}
	if n := c.sum("aggregator_unavailable_apiservice", "v1beta1.metrics.k8s.io"); n != 1 {
		t.Errorf("the gauge is %v", n)
	}
	if n := c.sum("aggregator_unavailable_apiservice_total", "FailedDiscoveryCheck"); n != 1 {
		t.Errorf("the counter is %v", n)
	}
	c.answer(serveMetrics)
	c.becomes("Passed")
	if err := c.client.Delete(t.Context(), svc, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); c.Serves("metrics.k8s.io", "v1beta1"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a deleted API service is served on")
		}
	}
}

func (c *cluster) ready() {
	c.t.Helper()
	c.publishService()
	c.publishEndpoints()
	Create(c.Env, c.service("far", "metrics"))
	c.becomes("Passed")
}

func TestRequestsCarryTheUserAndNothingElse(t *testing.T) {
	c := newCluster(t)
	c.ready()
	w := c.do(metricsPath+"/namespaces/x/pods/a%2Fb?limit=1&x=%26", "Authorization", "Bearer secret", "X-Remote-User", "root", "X-Remote-Group", "system:masters", "X-Remote-Extra-Evil", "1")
	want := `GET /apis/metrics.k8s.io/v1beta1/namespaces/x/pods/a%2Fb?limit=1&x=%26 by front-proxy-client: user=jane uid=42 groups=[a b] extra=[x] auth=""`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d\n got %s\nwant %s", w.Code, w.Body, want)
	}
	if w := c.do(metricsPath + "/moved"); w.Code != http.StatusBadGateway {
		t.Errorf("a redirect: %d %s", w.Code, w.Body)
	}
}

func TestUpgrades(t *testing.T) {
	c := newCluster(t)
	c.ready()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.Serve(w, r, "metrics.k8s.io", "v1beta1", admin) }))
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET "+metricsPath+"/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := br.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q %v", line, err)
	}
}

func (c *cluster) document(path, accept string) string {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	doc, ok, err := c.discovery.Get(path, r)
	if err != nil || !ok {
		c.t.Fatalf("%s: %v %v", path, ok, err)
	}
	return string(doc.Body)
}

func TestDocumentsShowOtherServers(t *testing.T) {
	c := newCluster(t)
	c.ready()
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	if text := c.document("/apis", aggregated); !strings.Contains(text, `"metrics.k8s.io"`) || !strings.Contains(text, `"PodMetrics"`) || !strings.Contains(text, `"usage"`) || strings.Contains(text, "Stale") {
		t.Errorf("aggregated: %s", text[max(0, len(text)-700):])
	}
	if text := c.document("/apis", "application/json"); !strings.Contains(text, "metrics.k8s.io/v1beta1") {
		t.Error("legacy list of groups")
	}
	if text := c.document("/apis/metrics.k8s.io", "application/json"); !strings.Contains(text, "metrics.k8s.io/v1beta1") {
		t.Error("the group's own document")
	}
	for path, want := range map[string]string{"/openapi/v3": "apis/metrics.k8s.io/v1beta1", "/openapi/v3" + metricsPath: `"title":"metrics"`, "/openapi/v2": "far.PodMetrics"} {
		doc, ok, err := c.openapi.Get(path, httptest.NewRequest("GET", path, nil))
		if err != nil || !ok || !strings.Contains(string(doc.Body), want) {
			t.Errorf("%s: %v %v", path, ok, err)
		}
		if strings.Contains(string(doc.Body), "x-hostile") {
			t.Error("another server describes our paths")
		}
	}
	// The other server is gone: what it had is shown as stale, at once, and nobody waits for it.
	c.answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "far", Name: "metrics-1"}}
	if err := c.client.Delete(t.Context(), slice, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.becomes("EndpointsNotFound")
	began := time.Now()
	if text := c.document("/apis", aggregated); !strings.Contains(text, "Stale") || !strings.Contains(text, `"PodMetrics"`) {
		t.Error("not shown as stale")
	}
	if time.Since(began) > time.Second {
		t.Errorf("discovery took %v", time.Since(began))
	}
}

func TestGroupsComeInTheOrderOfTheirPriorities(t *testing.T) {
	c := newCluster(t)
	c.ready()
	names := func() (out []string) {
		var list metav1.APIGroupList
		if err := json.Unmarshal([]byte(c.document("/apis", "application/json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, g := range list.Groups {
			out = append(out, g.Name)
		}
		return out
	}
	have := strings.Join(names(), " ")
	if !strings.HasPrefix(have, "apiregistration.k8s.io apps events.k8s.io ") || !strings.HasSuffix(have, " metrics.k8s.io") {
		t.Error(have)
	}
	if _, err := c.client.Mutate(t.Context(), c.service("far", "metrics"), "", func(obj api.Object) error {
		obj.(*apiregistrationv1.APIService).Spec.GroupPriorityMinimum = 17790
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.HasPrefix(strings.Join(names(), " "), "apiregistration.k8s.io apps metrics.k8s.io "); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(names())
		}
	}
}

func TestAServerThatHangsHoldsUpOnlyItsOwn(t *testing.T) {
	c := newCluster(t)
	c.ready()
	c.answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, slotsPerBackend)
	for range slotsPerBackend {
		go func() {
			w := httptest.NewRecorder()
			c.Serve(w, httptest.NewRequestWithContext(ctx, "GET", metricsPath+"/pods", nil), "metrics.k8s.io", "v1beta1", admin)
			done <- w.Code
		}()
	}
	b := (*c.table.Load())[gv("metrics.k8s.io", "v1beta1")]
	for end := time.Now().Add(time.Minute); len(b.slots) < slotsPerBackend && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if w := c.do(metricsPath + "/pods"); w.Code != http.StatusTooManyRequests {
		t.Errorf("one more than there is room for: %d", w.Code)
	}
	cancel()
	for range slotsPerBackend {
		<-done
	}
	if len(b.slots) != 0 {
		t.Errorf("%d slots are still taken", len(b.slots))
	}
}

func TestOwnVersionsAndTrust(t *testing.T) {
	c := newCluster(t)
	get := func(name string) *apiregistrationv1.APIService {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if s, ok := client.Get[*apiregistrationv1.APIService](c.client.Snapshot(), "", name); ok && isAvailable(s) {
				return s
			}
		}
		t.Fatalf("no available API service %s", name)
		return nil
	}
	core, apps := get("v1."), get("v1.apps")
	if core.Spec.GroupPriorityMinimum != 18000 || core.Spec.VersionPriority != 1 || apps.Labels[managedLabel] != "onstart" {
		t.Errorf("%+v %+v", core.Spec, apps.Labels)
	}
	if err := c.client.Delete(t.Context(), apps, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := get("v1.apps"); again.UID == apps.UID {
		t.Error("it was not deleted")
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if cm, ok := client.Get[*corev1.ConfigMap](c.client.Snapshot(), trustNamespace, trustName); ok {
			if cm.Data["requestheader-client-ca-file"] != string(c.front.PEM()) || cm.Data["requestheader-username-headers"] != `["X-Remote-User"]` {
				t.Errorf("%v", cm.Data)
			}
			break
		} else if time.Now().After(end) {
			t.Fatal("no config map")
		}
	}
}

func TestFrontProxiesAreBelieved(t *testing.T) {
	c := newCluster(t)
	believe := authn.RequestHeader(c.front.Pool(), []string{FrontProxyName}, time.Now)
	for name, who := range map[string]struct {
		ca     *pki.CA
		common string
		want   string
	}{"the front proxy": {c.front, FrontProxyName, "jane"}, "another name": {c.front, "other", "error"}, "a user": {c.ca, FrontProxyName, ""}} {
		cert, err := who.ca.Issue(pki.Leaf{CommonName: who.common, Client: true}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: chainOf(t, cert)}
		r.Header.Set("X-Remote-User", "jane")
		r.Header.Add("X-Remote-Group", "a")
		r.Header.Set("X-Remote-Extra-Example.com%2fscopes", "x")
		u, err := believe.Authenticate(r)
		got := ""
		if err != nil {
			got = "error"
		} else if u != nil {
			got = u.GetName()
			if fmt.Sprint(u.GetGroups(), u.GetExtra()) != "[a system:authenticated] map[example.com/scopes:[x]]" || len(r.Header) != 0 {
				t.Errorf("%v %v %v", u.GetGroups(), u.GetExtra(), r.Header)
			}
		}
		if got != who.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func chainOf(t *testing.T, cert *tls.Certificate) (out []*x509.Certificate) {
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"resources":[{"name":"a/b"},{"name":"a"}]}`), []byte(`{"paths":{"/apis/x/":{}}}`))
	f.Fuzz(func(_ *testing.T, list, doc []byte) {
		var l metav1.APIResourceList
		if json.Unmarshal(list, &l) == nil {
			asDiscovery(&l, gv("g", "v1"))
		}
		onlyBelow(doc, "/apis/g/v1/")
	})
}
