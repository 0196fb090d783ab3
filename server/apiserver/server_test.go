package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/node"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/apiserver/review"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// now is the tests' clock: tables hold ages.
var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// env is a server over a real store, without a listener.
type env struct {
	*apiserver.Server
	store  *store.Store
	client *client.Client
}

var admin = &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters", "system:authenticated"}}

// users by bearer token.
var users = map[string]user.Info{
	"admin": admin,
	"jane":  &user.DefaultInfo{Name: "jane"},
	"node":  &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}},
}

func newEnv(t testing.TB, change ...func(*apiserver.Config)) *env {
	t.Helper()
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(store.Config{Dir: t.TempDir(), Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	roles := rbac.New(catalogue, s.Snapshot)
	nodes := node.New(catalogue, s.Snapshot)
	chain := authz.Chain{authz.Masters, nodes, roles}
	reg, err := registry.New(registry.Config{Catalogue: catalogue, Store: s, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		Admission: []registry.Plugin{roles.Escalation(chain)},
		Actions:   review.Actions(review.Config{Authorizer: chain, Rules: roles.RulesFor})})
	if err != nil {
		t.Fatal(err)
	}
	cfg := apiserver.Config{Registry: reg, Catalogue: catalogue, Store: s, Authorizers: chain, Now: func() time.Time { return now },
		Authenticators: []authn.Authenticator{authn.Func(func(r *http.Request) (user.Info, error) {
			if u, ok := users[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; ok {
				return u, nil
			}
			if r.Header.Get("Authorization") != "" {
				return nil, errors.New("invalid bearer token")
			}
			return nil, nil
		})},
		Anonymous: func(path string) bool { return path != "/readyz" },
		CABundle:  func() []byte { return []byte("PEM") },
		Version:   version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.2+skiff0"},
	}
	for _, f := range change {
		f(&cfg)
	}
	srv, err := apiserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := &env{Server: srv, store: s, client: client.New(reg, s, catalogue, chain, admin)}
	for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		e.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	return e
}

func (e *env) create(t testing.TB, obj api.Object) api.Object {
	t.Helper()
	out, err := e.client.Create(context.Background(), obj)
	if err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
	return out
}

// do sends a request as admin; headers are "Name: value". An empty Authorization header sends none.
func (e *env) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, path, nil)
	}
	r.Header.Set("Authorization", "Bearer admin")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w
}

const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"a":"b"}}`

func TestStatusCodesAndMessages(t *testing.T) {
	e := newEnv(t)
	e.do("POST", "/api/v1/namespaces/default/configmaps", fmt.Sprintf(configMap, "there"))
	const cms = "/api/v1/namespaces/default/configmaps"
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		contains                 string
	}{
		{"read", "GET", cms + "/there", "", nil, 200, `"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"there"`},
		{"pretty", "GET", cms + "/there?pretty=true", "", nil, 200, "{\n  \"kind\": \"ConfigMap\","},
		{"pretty list for curl", "GET", cms, "", []string{"User-Agent: curl/8"}, 200, "\n  \"items\": [\n"},
		{"list has no kinds in items", "GET", cms, "", nil, 200, `"items":[{"metadata":`},
		{"no such object", "GET", cms + "/none", "", nil, 404, `configmaps \"none\" not found`},
		{"no such resource", "GET", "/api/v1/namespaces/default/nonsense", "", nil, 404, "the server could not find the requested resource"},
		{"no such group", "GET", "/apis/nonsense/v1/things", "", nil, 404, "the server could not find the requested resource"},
		{"no such path", "GET", "/nonsense", "", nil, 404, "the server could not find the requested resource"},
		{"no such subresource", "GET", cms + "/there/status", "", nil, 404, "the server could not find the requested resource"},
		{"namespace on a cluster kind", "GET", "/api/v1/namespaces/default/nodes", "", nil, 404, ""},
		{"name without namespace", "GET", "/api/v1/configmaps/there", "", nil, 404, ""},
		{"create across namespaces", "POST", "/api/v1/configmaps", fmt.Sprintf(configMap, "x"), nil, 405, "MethodNotAllowed"},
		{"create on a name", "POST", cms + "/there", fmt.Sprintf(configMap, "there"), nil, 405, "MethodNotAllowed"},
		{"write to discovery", "POST", "/apis", "{}", nil, 405, "MethodNotAllowed"},
		{"exists", "POST", cms, fmt.Sprintf(configMap, "there"), nil, 409, `configmaps \"there\" already exists`},
		{"not JSON", "POST", cms, "{", nil, 400, "BadRequest"},
		{"wrong type", "POST", cms, `{"apiVersion":"v1","kind":"ConfigMap","data":7}`, nil, 400, `ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal`},
		{"wrong kind", "POST", cms, `{"apiVersion":"v1","kind":"Secret"}`, nil, 400, "does not match"},
		{"wrong version", "POST", cms, `{"apiVersion":"v2","kind":"ConfigMap"}`, nil, 400, "the API version in the data (v2) does not match the expected API version (v1)"},
		{"wrong namespace", "POST", cms, `{"metadata":{"name":"x","namespace":"other"}}`, nil, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"wrong name", "PUT", cms + "/there", fmt.Sprintf(configMap, "other"), nil, 400, "the name of the object (other) does not match the name on the URL (there)"},
		{"budget", "POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", `{"metadata":{"name":"x"},"spec":{"minAvailable":1,"selector":{}}}`, nil, 201, ""},
		{"update without version", "PUT", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/x", `{"metadata":{"name":"x"},"spec":{"minAvailable":1,"selector":{}}}`, nil, 422, "metadata.resourceVersion: Invalid value: 0: must be specified for an update"},
		{"status update without version", "PUT", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/x/status", `{"metadata":{"name":"x"},"spec":{"minAvailable":1,"selector":{}}}`, nil, 422, "metadata.resourceVersion: Invalid value: 0: must be specified for an update"},
		{"update creates no budget", "PUT", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/y", `{"metadata":{"name":"y"}}`, nil, 404, `poddisruptionbudgets.policy \"y\" not found`},
		{"update creates a lease", "PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/y", `{"metadata":{"name":"y"},"spec":{}}`, nil, 201, ""},
		{"unknown field, strict", "POST", cms + "?fieldValidation=Strict", `{"metadata":{"name":"x"},"foo":1,"data":{"a":"b"}}`, nil, 400, `strict decoding error: unknown field \"foo\"`},
		{"duplicate field, strict", "POST", cms + "?fieldValidation=Strict", `{"metadata":{"name":"x"},"data":{},"data":{}}`, nil, 400, `strict decoding error: duplicate field \"data\"`},
		{"bad directive", "POST", cms + "?fieldValidation=Maybe", fmt.Sprintf(configMap, "x"), nil, 422, "fieldValidation"},
		{"bad dry run", "POST", cms + "?dryRun=Some", fmt.Sprintf(configMap, "x"), nil, 422, "dryRun"},
		{"unknown media type", "POST", cms, "x", []string{"Content-Type: text/plain"}, 415, "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"unknown patch type", "PATCH", cms + "/there", "{}", []string{"Content-Type: application/json"}, 415, "accepted media types include: application/json-patch+json"},
		{"not acceptable", "GET", cms, "", []string{"Accept: text/html"}, 406, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"bad label selector", "GET", cms + "?labelSelector=a%3D%3D%3Db", "", nil, 400, "unable to parse"},
		{"bad field selector", "GET", cms + "?fieldSelector=spec.x%3D1", "", nil, 400, "spec.x"},
		{"bad continue token", "GET", cms + "?limit=1&continue=zzz", "", nil, 400, "continue"},
		{"bad limit", "GET", cms + "?limit=x", "", nil, 400, "limit"},
		{"bad includeObject", "GET", cms + "?includeObject=x", "", []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"}, 400, "includeObject"},
		{"bad grace period", "DELETE", cms + "/there?gracePeriodSeconds=x", "", nil, 400, "gracePeriodSeconds"},
		{"bad propagation", "DELETE", cms + "/there?propagationPolicy=x", "", nil, 422, "propagationPolicy"},
		{"no credentials", "GET", cms, "", []string{"Authorization: "}, 403, `"message":"configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""`},
		{"no credentials, path", "GET", "/metrics", "", []string{"Authorization: "}, 403, `"message":"forbidden: User \"system:anonymous\" cannot get path \"/metrics\""`},
		{"no credentials, impersonating", "GET", cms, "", []string{"Authorization: ", "Impersonate-User: admin"}, 403, `users \"admin\" is forbidden: User \"system:anonymous\" cannot impersonate resource \"users\"`},
		{"bad credentials", "GET", cms, "", []string{"Authorization: Bearer nobody"}, 401, "Unauthorized"},
		{"not allowed", "GET", cms, "", []string{"Authorization: Bearer jane"}, 403, `configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"`},
		{"not allowed, one", "DELETE", "/api/v1/nodes/x", "", []string{"Authorization: Bearer jane"}, 403, `nodes \"x\" is forbidden: User \"jane\" cannot delete resource \"nodes\" in API group \"\" at the cluster scope`},
		{"not allowed, path", "GET", "/metrics", "", []string{"Authorization: Bearer jane"}, 403, `User \"jane\" cannot get path \"/metrics\"`},
		{"public", "GET", "/livez", "", []string{"Authorization: "}, 200, "ok"},
		{"public, verbose", "GET", "/livez?verbose", "", []string{"Authorization: "}, 200, "[+]ping ok"},
		{"public, bad credentials", "GET", "/livez", "", []string{"Authorization: Bearer nobody"}, 401, "Unauthorized"},
		{"public, another verb", "POST", "/livez", "", []string{"Authorization: "}, 403, ""},
		{"not even anonymous", "GET", "/readyz", "", []string{"Authorization: "}, 401, "Unauthorized"},
		{"one check", "GET", "/readyz/etcd", "", nil, 200, "ok"},
		{"one check is not public", "GET", "/livez/ping", "", []string{"Authorization: "}, 403, ""},
		{"verbose", "GET", "/readyz?verbose", "", nil, 200, "[+]etcd ok"},
		{"version", "GET", "/version", "", nil, 200, `"gitVersion": "v1.37.2+skiff0"`},
		{"public, CA", "GET", "/cacerts", "", []string{"Authorization: "}, 200, "PEM"},
		{"public, bad credentials and the CA", "GET", "/cacerts", "", []string{"Authorization: Bearer nobody"}, 200, "PEM"},
		{"discovery is not public", "GET", "/api", "", []string{"Authorization: "}, 403, ""},
		{"impersonate", "GET", cms, "", []string{"Impersonate-User: jane"}, 403, `User \"jane\" cannot list`},
		{"impersonate without right", "GET", cms, "", []string{"Authorization: Bearer jane", "Impersonate-User: admin"}, 403, `cannot impersonate resource \"users\"`},
		{"groups without user", "GET", cms, "", []string{"Impersonate-Group: a"}, 400, "without impersonating a user"},
		{"review", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, nil, 201, `"status":{"allowed":true`},
		{"who am I", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`, nil, 201, `"username":"admin"`},
		{"log of no pod", "GET", "/api/v1/namespaces/default/pods/none/log", "", nil, 404, `pods \"none\" not found`},
		{"proxy redirects to slash", "GET", "/api/v1/nodes/n1/proxy", "", nil, 301, ""},
		{"exec without upgrade on no pod", "POST", "/api/v1/namespaces/default/pods/none/exec", "", nil, 404, ""},
		{"delete", "DELETE", cms + "/there", "", nil, 200, `"status":"Success","details":{"name":"there","kind":"configmaps","uid":"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := c.headers
			if c.body != "" && !strings.Contains(strings.Join(headers, " "), "Content-Type") {
				headers = append(headers, "Content-Type: application/json")
			}
			w := e.do(c.method, c.path, c.body, headers...)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.contains) {
				t.Errorf("got %d %s\nwant %d with %s", w.Code, w.Body, c.code, c.contains)
			}
			if w.Code >= 400 {
				var s metav1.Status
				if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Kind != "Status" || int(s.Code) != w.Code || s.Reason == "" {
					t.Errorf("an error must be a Status with the code and a reason: %v %s", err, w.Body)
				}
			}
			if w.Header().Get("Audit-Id") == "" {
				t.Error("no Audit-Id")
			}
		})
	}
}

func TestUnknownFieldsWarn(t *testing.T) {
	e := newEnv(t)
	w := e.do("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"x"},"foo":1}`)
	if w.Code != 201 || w.Header().Get("Warning") != `299 - "unknown field \"foo\""` {
		t.Errorf("got %d, Warning %q", w.Code, w.Header().Get("Warning"))
	}
	w = e.do("POST", "/api/v1/namespaces/default/configmaps?fieldValidation=Ignore", `{"metadata":{"name":"y"},"foo":1}`)
	if w.Code != 201 || w.Header().Get("Warning") != "" {
		t.Errorf("got %d, Warning %q", w.Code, w.Header().Get("Warning"))
	}
}

func TestTooLargeBodies(t *testing.T) {
	e := newEnv(t)
	w := e.do("POST", "/api/v1/namespaces/default/configmaps", `{"data":{"a":"`+strings.Repeat("x", 3<<20)+`"}}`)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %.200s", w.Code, w.Body)
	}
}

func TestFormats(t *testing.T) {
	e := newEnv(t)
	const path = "/api/v1/namespaces/default/configmaps"
	yaml := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yy\ndata:\n  a: b\n"
	if w := e.do("POST", path, yaml, "Content-Type: application/yaml", "Accept: application/yaml"); w.Code != 201 || !strings.HasPrefix(w.Body.String(), "apiVersion: v1\n") {
		t.Fatalf("YAML: %d %s", w.Code, w.Body)
	}
	w := e.do("GET", path+"/yy", "", "Accept: application/vnd.kubernetes.protobuf,application/json")
	if w.Header().Get("Content-Type") != "application/vnd.kubernetes.protobuf" {
		t.Fatalf("got %s", w.Header().Get("Content-Type"))
	}
	obj, gvk, err := api.Codecs.UniversalDeserializer().Decode(w.Body.Bytes(), nil, nil)
	if err != nil || gvk.Kind != "ConfigMap" || obj.(*corev1.ConfigMap).Data["a"] != "b" {
		t.Fatalf("protobuf: %v %v %v", obj, gvk, err)
	}
	proto := w.Body.String()
	if w := e.do("PUT", path+"/yy", proto, "Content-Type: application/vnd.kubernetes.protobuf"); w.Code != 200 {
		t.Fatalf("protobuf in: %d %s", w.Code, w.Body)
	}
	w = e.do("GET", path, "", "Accept: application/vnd.kubernetes.protobuf")
	obj, _, err = api.Codecs.UniversalDeserializer().Decode(w.Body.Bytes(), nil, nil)
	if err != nil || len(obj.(*corev1.ConfigMapList).Items) != 1 || obj.(*corev1.ConfigMapList).ResourceVersion == "" {
		t.Fatalf("protobuf list: %v %v", obj, err)
	}
	w = e.do("GET", path, "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	var table metav1.Table
	if err := json.Unmarshal(w.Body.Bytes(), &table); err != nil || table.Kind != "Table" || table.Rows[0].Cells[0] != "yy" || table.ColumnDefinitions[0].Name != "Name" {
		t.Fatalf("table: %v %s", err, w.Body)
	}
	w = e.do("GET", path, "", "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json")
	var partial metav1.PartialObjectMetadataList
	if err := json.Unmarshal(w.Body.Bytes(), &partial); err != nil || partial.Kind != "PartialObjectMetadataList" || partial.Items[0].Name != "yy" || partial.Items[0].Kind != "PartialObjectMetadata" {
		t.Fatalf("partial: %v %s", err, w.Body)
	}
}

func TestDiscovery(t *testing.T) {
	e := newEnv(t)
	w := e.do("GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
	if w.Header().Get("Content-Type") != "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" || !strings.Contains(w.Body.String(), `"resource":"deployments"`) {
		t.Fatalf("aggregated: %s %.300s", w.Header().Get("Content-Type"), w.Body)
	}
	again := e.do("GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "If-None-Match: "+w.Header().Get("ETag"))
	if again.Code != http.StatusNotModified {
		t.Errorf("got %d for a known ETag", again.Code)
	}
	for path, kind := range map[string]string{"/api": "APIVersions", "/apis": "APIGroupList", "/apis/apps": "APIGroup", "/apis/apps/v1": "APIResourceList", "/api/v1": "APIResourceList", "/api/v1/": "APIResourceList"} {
		if w := e.do("GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"kind":"`+kind+`"`) {
			t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	e := newEnv(t)
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(e.do("GET", "/openapi/v3", "").Body.Bytes(), &index); err != nil || len(index.Paths) < 5 {
		t.Fatalf("%v %v", err, index)
	}
	for name, entry := range index.Paths {
		var doc struct {
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal(e.do("GET", entry.ServerRelativeURL, "").Body.Bytes(), &doc); err != nil || len(doc.Paths) == 0 || len(doc.Components.Schemas) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w := e.do("GET", "/openapi/v2", "", "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf"); w.Code != 200 || strings.HasPrefix(w.Body.String(), "{") {
		t.Errorf("v2 protobuf: %d %.100s", w.Code, w.Body)
	}
}

func TestWatch(t *testing.T) {
	e := newEnv(t)
	srv := httptest.NewServer(e.Handler())
	defer srv.Close()
	const path = "/api/v1/namespaces/default/configmaps"
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf;stream=watch", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
		t.Run(accept, func(t *testing.T) {
			e.do("POST", path, fmt.Sprintf(configMap, "w"))
			defer e.do("DELETE", path+"/w", "")
			req, _ := http.NewRequest("GET", srv.URL+path+"?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", nil)
			req.Header.Set("Authorization", "Bearer admin")
			req.Header.Set("Accept", accept)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			go e.do("PATCH", path+"/w", `{"data":{"c":"d"}}`, "Content-Type: application/merge-patch+json")
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			text := string(body)
			for _, want := range []string{"ADDED", "BOOKMARK", "k8s.io/initial-events-end", "MODIFIED"} {
				i := strings.Index(text, want)
				if i < 0 {
					t.Fatalf("no %s in order in %q", want, body)
				}
				text = text[i:]
			}
		})
	}
	old := e.do("GET", path+"?watch=1&resourceVersion=999999999&timeoutSeconds=1", "")
	if old.Code < 400 && !strings.Contains(old.Body.String(), "ERROR") {
		t.Errorf("a revision of the future: %d %s", old.Code, old.Body)
	}
}

func TestInProcessTransport(t *testing.T) {
	e := newEnv(t)
	c := &http.Client{Transport: e.RoundTripper(admin)}
	resp, err := c.Post("https://skiff/api/v1/namespaces/default/configmaps", "application/json", strings.NewReader(fmt.Sprintf(configMap, "p")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://skiff/api/v1/configmaps?watch=true", nil)
	if resp, err = c.Do(req); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := resp.Body.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), `"type":"ADDED"`) {
		t.Errorf("%v %s", err, buf[:n])
	}
	cancel()
	if _, err := io.ReadAll(resp.Body); err != nil && !strings.Contains(err.Error(), "closed") {
		t.Logf("after cancel: %v", err)
	}
	resp.Body.Close()
}

func TestNodesSeeOnlyTheirOwn(t *testing.T) {
	e := newEnv(t)
	e.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}})
	e.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}})
	e.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1",
		Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mine"}}}}}})
	for path, code := range map[string]int{
		"/api/v1/namespaces/default/secrets/mine":                               200,
		"/api/v1/namespaces/default/secrets/other":                              403,
		"/api/v1/namespaces/default/secrets":                                    403,
		"/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dmine": 200,
		"/api/v1/pods": 403,
		"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1": 200,
		"/api/v1/pods?fieldSelector=spec.nodeName%3Dn2": 403,
		"/api/v1/services":          200,
		"/apis/apps/v1/deployments": 403,
	} {
		if w := e.do("GET", path, "", "Authorization: Bearer node"); w.Code != code {
			t.Errorf("%s: got %d, want %d: %s", path, w.Code, code, w.Body)
		}
	}
	if w := e.do("POST", "/api/v1/nodes", `{"metadata":{"name":"n1"}}`, "Authorization: Bearer node"); w.Code != 201 {
		t.Errorf("a node could not register: %d %s", w.Code, w.Body)
	}
}
