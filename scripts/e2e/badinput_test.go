package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// answer is what the server said to a plain request.
type answer struct {
	code     int
	warnings []string
	body     string
	metav1.Status
}

// do sends a plain request as the administrator. $NS in the path stands for the namespace.
func (s *space) do(method, path, contentType, body string) answer {
	s.Helper()
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		s.Fatal(err)
	}
	return s.send(client, method, path, contentType, body, nil)
}

func (s *space) send(client *http.Client, method, path, contentType, body string, header map[string]string) (a answer) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.config.Host+strings.ReplaceAll(path, "$NS", s.name), strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	_ = json.Unmarshal(raw, &a.Status)
	a.code, a.warnings, a.body = resp.StatusCode, resp.Header.Values("Warning"), string(raw)
	return a
}

const (
	asJSON  = "application/json"
	asYAML  = "application/yaml"
	asMerge = "application/merge-patch+json"
	asOps   = "application/json-patch+json"
	asSMP   = "application/strategic-merge-patch+json"
	asApply = "application/apply-patch+yaml"
)

// TestBadInput: what is wrong with a request is told with the status, reason and words that clients of Kubernetes know.
func TestBadInput(t *testing.T) {
	s := newSpace(t)
	s.kubectl("create", "configmap", "c", "--from-literal=a=1")
	s.kubectl("create", "configmap", "d")
	s.apply(deployment("web", 0) + `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
immutable: true
data: {a: "1"}
---
apiVersion: v1
kind: Service
metadata: {name: svc}
spec: {ports: [{port: 80}]}
`)
	maps, pods, deployments, services := "/api/v1/namespaces/$NS/configmaps", "/api/v1/namespaces/$NS/pods", "/apis/apps/v1/namespaces/$NS/deployments", "/api/v1/namespaces/$NS/services"
	named := func(name string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"}}`
	}
	pod := func(spec string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":` + spec + `}`
	}
	for _, c := range []struct {
		name, method, path, contentType, body string
		code                                  int
		reason                                metav1.StatusReason
		words                                 []string
	}{
		// Bodies that cannot be read.
		{"JSON cut off", "POST", maps, asJSON, `{"apiVersion":"v1","kind":"ConfigMap"`, 400, "BadRequest", []string{"unexpected end of JSON input"}},
		{"no JSON", "POST", maps, asJSON, `hello`, 400, "BadRequest", []string{"invalid character 'h'"}},
		{"no YAML", "POST", maps, asYAML, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n", 400, "BadRequest", []string{"yaml"}},
		{"empty body", "POST", maps, asJSON, ``, 400, "BadRequest", nil},
		{"no kind", "POST", maps, asJSON, `{"metadata":{"name":"x"}}`, 201, "", nil}, // the path says which kind it is
		{"another kind", "POST", maps, asJSON, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, 400, "BadRequest", []string{"Secret", "ConfigMap"}},
		{"another group", "POST", deployments, asJSON, `{"apiVersion":"v2","kind":"Deployment","metadata":{"name":"x"}}`, 400, "BadRequest", []string{"does not match the expected API version"}},
		{"unknown media type", "POST", maps, "text/html", named("x"), 415, "UnsupportedMediaType", []string{"application/json", "application/yaml"}},
		{"a number as a string", "POST", maps, asJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":1}}`, 400, "BadRequest", []string{"cannot unmarshal number", "data"}},
		{"a list as a map", "POST", maps, asJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":["a"]}`, 400, "BadRequest", []string{"cannot unmarshal array"}},
		{"a bad quantity", "POST", pods, asJSON, pod(`{"containers":[{"name":"a","image":"a","resources":{"limits":{"cpu":"lots"}}}]}`), 400, "BadRequest", []string{"quantities must match the regular expression"}},
		{"too deep", "POST", maps, asJSON, strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), 400, "BadRequest", []string{"exceeded max depth"}},
		{"too large", "POST", maps, asJSON, `{"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`, 413, "RequestEntityTooLarge", []string{"limit is 3145728"}},
		{"a ConfigMap over its limit", "POST", maps, asJSON, `{"metadata":{"name":"x"},"data":{"a":"` + strings.Repeat("x", 1<<20+1) + `"}}`, 422, "Invalid", []string{"Too long"}},
		{"protobuf that is none", "POST", maps, "application/vnd.kubernetes.protobuf", "k8s\x00rubbish", 400, "BadRequest", nil},

		// Names, namespaces and required fields.
		{"invalid name", "POST", maps, asJSON, named("Not_A_Name"), 422, "Invalid", []string{"metadata.name: Invalid value", "a lowercase RFC 1123 subdomain must consist of"}},
		{"long name", "POST", maps, asJSON, named(strings.Repeat("a", 254)), 422, "Invalid", []string{"must be no more than 253"}},
		{"no name", "POST", maps, asJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}`, 422, "Invalid", []string{"name or generateName is required"}},
		{"another namespace", "POST", maps, asJSON, `{"metadata":{"name":"x","namespace":"other"}}`, 400, "BadRequest", []string{"the namespace of the provided object does not match the namespace sent on the request"}},
		{"no such namespace", "POST", "/api/v1/namespaces/none/configmaps", asJSON, named("x"), 404, "NotFound", []string{`namespaces "none" not found`}},
		{"bad label", "POST", maps, asJSON, `{"metadata":{"name":"x","labels":{"a b":"c"}}}`, 422, "Invalid", []string{"metadata.labels: Invalid value"}},
		{"bad key", "POST", maps, asJSON, `{"metadata":{"name":"x"},"data":{"a/b":"c"}}`, 422, "Invalid", []string{`data[a/b]: Invalid value`}},
		{"it exists", "POST", maps, asJSON, named("c"), 409, "AlreadyExists", []string{`configmaps "c" already exists`}},
		{"resourceVersion on create", "POST", maps, asJSON, `{"metadata":{"name":"x","resourceVersion":"1"}}`, 400, "BadRequest", []string{"resourceVersion should not be set on objects to be created"}},
		{"no containers", "POST", pods, asJSON, pod(`{}`), 422, "Invalid", []string{"spec.containers: Required value"}},
		{"two containers of a name", "POST", pods, asJSON, pod(`{"containers":[{"name":"a","image":"a"},{"name":"a","image":"a"}]}`), 422, "Invalid", []string{`spec.containers[1].name: Duplicate value: "a"`}},
		{"an enum", "POST", pods, asJSON, pod(`{"restartPolicy":"Perhaps","containers":[{"name":"a","image":"a"}]}`), 422, "Invalid", []string{`spec.restartPolicy: Unsupported value: "Perhaps"`, `"Always"`, `"OnFailure"`, `"Never"`}},
		{"a volume that is not there", "POST", pods, asJSON, pod(`{"containers":[{"name":"a","image":"a","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}`), 422, "Invalid", []string{`spec.containers[0].volumeMounts[0].name: Not found: "v"`}},
		{"a path out of the volume", "POST", pods, asJSON, pod(`{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"a","image":"a","volumeMounts":[{"name":"v","mountPath":"/v","subPath":"../x"}]}]}`), 422, "Invalid", []string{"subPath: Invalid value", "must not contain '..'"}},
		{"limits below requests", "POST", pods, asJSON, pod(`{"containers":[{"name":"a","image":"a","resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}]}`), 422, "Invalid", []string{"must be less than or equal to cpu limit of 1"}},
		{"a selector that does not match", "POST", deployments, asJSON, `{"metadata":{"name":"x"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"a","image":"a"}]}}}}`, 422, "Invalid", []string{"spec.template.metadata.labels: Invalid value", "`selector` does not match template `labels`"}},
		{"a port out of range", "POST", services, asJSON, `{"metadata":{"name":"x"},"spec":{"ports":[{"port":70000}]}}`, 422, "Invalid", []string{"spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"}},

		// Changes that are not allowed.
		{"a stale update", "PUT", maps + "/c", asJSON, `{"metadata":{"name":"c","resourceVersion":"1"}}`, 409, "Conflict", []string{"the object has been modified; please apply your changes to the latest version and try again"}},
		{"another name", "PUT", maps + "/c", asJSON, named("b"), 400, "BadRequest", []string{"the name of the object (b) does not match the name on the URL (c)"}},
		{"a foreign uid", "PUT", maps + "/c", asJSON, `{"metadata":{"name":"c","uid":"00000000-0000-0000-0000-000000000000"}}`, 409, "Conflict", []string{"Precondition failed: UID in precondition"}},
		{"an immutable ConfigMap", "PATCH", maps + "/fixed", asMerge, `{"data":{"a":"2"}}`, 422, "Invalid", []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		{"a selector for ever", "PATCH", deployments + "/web", asMerge, `{"spec":{"selector":{"matchLabels":{"app":"other"}},"template":{"metadata":{"labels":{"app":"other"}}}}}`, 422, "Invalid", []string{"spec.selector: Invalid value", "field is immutable"}},
		{"an address for ever", "PATCH", services + "/svc", asMerge, `{"spec":{"clusterIP":"10.43.1.1"}}`, 422, "Invalid", []string{`spec.clusterIPs[0]: Invalid value`}},
		{"no such object", "PUT", deployments + "/none", asJSON, `{"metadata":{"name":"none","resourceVersion":"1"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"a"}]}}}}`, 404, "NotFound", nil},
		{"delete with a wrong uid", "DELETE", maps + "/c", asJSON, `{"preconditions":{"uid":"x"}}`, 409, "Conflict", []string{"the UID in the precondition (x) does not match the UID in record"}},
		{"a bad propagation policy", "DELETE", maps + "/c", asJSON, `{"propagationPolicy":"Maybe"}`, 422, "Invalid", []string{"propagationPolicy: Unsupported value"}},

		// Patches.
		{"a patch of an unknown kind", "PATCH", maps + "/c", asJSON, `{}`, 415, "UnsupportedMediaType", []string{asOps, asMerge, asSMP}},
		{"a merge patch that is a list", "PATCH", maps + "/c", asMerge, `[1]`, 400, "BadRequest", nil},
		{"a JSON patch that is an object", "PATCH", maps + "/c", asOps, `{}`, 400, "BadRequest", []string{"error decoding patch"}},
		{"a JSON patch whose test fails", "PATCH", maps + "/c", asOps, `[{"op":"test","path":"/data/a","value":"9"}]`, 422, "Invalid", nil},
		{"a JSON patch of nothing", "PATCH", maps + "/c", asOps, `[{"op":"remove","path":"/data/none"}]`, 422, "Invalid", nil},
		{"an unknown op", "PATCH", maps + "/c", asOps, `[{"op":"twist","path":"/data"}]`, 422, "Invalid", nil},
		{"too many operations", "PATCH", maps + "/c", asOps, `[` + strings.Repeat(`{"op":"test","path":"/data/a","value":"1"},`, 10000) + `{"op":"test","path":"/data/a","value":"1"}]`, 413, "RequestEntityTooLarge", []string{"The allowed maximum operations in a JSON patch is 10000, got 10001"}},
		{"a merge patch with a wrong type", "PATCH", deployments + "/web", asMerge, `{"spec":{"replicas":"many"}}`, 422, "Invalid", []string{"patch: Invalid value", "cannot unmarshal string", "spec.replicas"}},
		{"a strategic patch without its key", "PATCH", deployments + "/web", asSMP, `{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}`, 400, "BadRequest", []string{"does not contain declared merge key: name"}},
		{"a patch that makes it invalid", "PATCH", deployments + "/web", asMerge, `{"spec":{"replicas":-1}}`, 422, "Invalid", []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		{"apply without a manager", "PATCH", maps + "/c", asApply, named("c"), 422, "Invalid", []string{"fieldManager: Required value: is required for apply patch"}},
		{"apply of another name", "PATCH", maps + "/c?fieldManager=me", asApply, named("b"), 400, "BadRequest", []string{"name"}},
		{"apply against another", "PATCH", maps + "/c?fieldManager=me", asApply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"2"}}`, 409, "Conflict", []string{`Apply failed with 1 conflict: conflict with "kubectl-create"`, ".data.a"}},

		// Queries.
		{"a bad label selector", "GET", maps + "?labelSelector=a%20in%20b", "", "", 400, "BadRequest", []string{"unable to parse requirement"}},
		{"a bad field selector", "GET", maps + "?fieldSelector=nonsense", "", "", 400, "BadRequest", []string{"invalid selector"}},
		{"an unknown field selector", "GET", pods + "?fieldSelector=spec.color%3Dred", "", "", 400, "BadRequest", []string{"field label not supported: spec.color"}},
		{"a bad continue token", "GET", maps + "?limit=1&continue=rubbish", "", "", 400, "BadRequest", []string{"continue key is not valid"}},
		{"a bad resourceVersion", "GET", maps + "?resourceVersion=x", "", "", 400, "BadRequest", []string{`"x"`}},
		{"a future resourceVersion", "GET", maps + "?resourceVersion=999999999", "", "", 504, "Timeout", []string{"Too large resource version: 999999999"}},
		{"a match without a version", "GET", maps + "?resourceVersionMatch=Exact", "", "", 422, "Invalid", []string{"resourceVersionMatch"}},
		{"an unknown match", "GET", maps + "?resourceVersion=1&resourceVersionMatch=Near", "", "", 422, "Invalid", []string{`Unsupported value: "Near"`}},
		{"a bad limit", "GET", maps + "?limit=many", "", "", 400, "BadRequest", []string{"many"}},
		{"an unknown field validation", "POST", maps + "?fieldValidation=Loose", asJSON, named("x1"), 422, "Invalid", []string{`fieldValidation: Unsupported value: "Loose"`}},
		{"an unknown dry run", "POST", maps + "?dryRun=Some", asJSON, named("x1"), 422, "Invalid", []string{`dryRun: Unsupported value`}},
		{"a format that is not offered", "GET", maps + "/c?as=html", "", "", 200, "", nil},

		// Places that do not exist.
		{"no such path", "GET", "/nonsense", "", "", 404, "", nil},
		{"no such group", "GET", "/apis/none.example/v1/things", "", "", 404, "", nil},
		{"no such resource", "GET", "/api/v1/namespaces/$NS/things", "", "", 404, "NotFound", []string{"the server could not find the requested resource"}},
		{"a method that is not there", "POST", maps + "/c", asJSON, named("c"), 405, "MethodNotAllowed", nil},
		{"no such subresource", "GET", maps + "/c/scale", "", "", 404, "NotFound", nil},
		{"a path with dots", "GET", "/api/v1/namespaces/$NS/configmaps/..%2f..", "", "", 404, "", nil},
	} {
		a := s.do(c.method, c.path, c.contentType, c.body)
		if a.code != c.code || c.reason != "" && a.Reason != c.reason {
			t.Errorf("%s: %d %s %q; want %d %s", c.name, a.code, a.Reason, cut(a.body), c.code, c.reason)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(a.Message, w) {
				t.Errorf("%s: no %q in %q", c.name, w, a.Message)
			}
		}
		if c.reason == "Invalid" && strings.Contains(a.Message, "Invalid value") && (a.Details == nil || len(a.Details.Causes) == 0) {
			t.Errorf("%s: no causes in %s", c.name, cut(a.body))
		}
	}
	s.equal("readyz after all of this", s.kubectl("get", "--raw", "/readyz"), "ok")
}

func cut(text string) string { return text[:min(len(text), 400)] }

// TestUnknownFields: strict refuses, warn warns, ignore says nothing; duplicates count as well.
func TestUnknownFields(t *testing.T) {
	s := newSpace(t)
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"x","color":"red"},"size":1,"data":{"a":"1"},"data":{"a":"2"}}`
	path := "/api/v1/namespaces/$NS/configmaps?fieldValidation="
	a := s.do("POST", path+"Strict", asJSON, body)
	if a.code != 400 || a.Reason != metav1.StatusReasonBadRequest {
		t.Errorf("strict: %d %s", a.code, a.body)
	}
	s.contains("strict", a.Message, "strict decoding error", `unknown field "metadata.color"`, `unknown field "size"`, `duplicate field "data"`)
	a = s.do("POST", path+"Warn", asJSON, body)
	if a.code != 201 || len(a.warnings) != 3 {
		t.Errorf("warn: %d %q", a.code, a.warnings)
	}
	s.contains("warnings", strings.Join(a.warnings, "\n"), `299 - "unknown field \"size\""`, `duplicate field`)
	if a = s.do("POST", path+"Ignore", asJSON, body); a.code != 201 || len(a.warnings) != 0 {
		t.Errorf("ignore: %d %q", a.code, a.warnings)
	}
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unknown}\nsize: 1\n"
	_, err := s.input(manifest, "apply", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), `unknown field "size"`) {
		t.Errorf("kubectl apply: %v", err)
	}
	if _, err = s.input(manifest, "apply", "--validate=false", "-f", "-"); err != nil {
		t.Errorf("kubectl apply --validate=false: %v", err)
	}
}

// TestContinueToken: pages make up the whole list, also when the objects change in between; a token that is too old says how to go on.
func TestContinueToken(t *testing.T) {
	s := newSpace(t)
	for i := range 5 {
		s.kubectl("create", "configmap", fmt.Sprintf("c%d", i))
	}
	var page struct {
		Metadata metav1.ListMeta
		Items    []struct{ Metadata metav1.ObjectMeta }
	}
	get := func(query string) {
		t.Helper()
		page.Items, page.Metadata = nil, metav1.ListMeta{}
		a := s.do("GET", "/api/v1/namespaces/$NS/configmaps?limit=2"+query, "", "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.code != 200 {
			t.Fatalf("%d %s %v", a.code, a.body, err)
		}
	}
	var names []string
	for get(""); ; get("&continue=" + page.Metadata.Continue) {
		for _, i := range page.Items {
			names = append(names, i.Metadata.Name)
		}
		if page.Metadata.Continue == "" {
			break
		}
		s.kubectl("create", "configmap", fmt.Sprintf("c3-%d", len(names))) // later than the list
	}
	s.equal("pages", strings.Join(names, " "), "c0 c1 c2 c3 c4 kube-root-ca.crt")
}

// TestStrangers: who shows nothing, or something wrong, gets health, version and the cluster's authority, and nothing else.
func TestStrangers(t *testing.T) {
	s := newSpace(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: s.node.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a stranger cannot verify
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version", joinapi.CACertsPath} {
		if a := s.send(client, "GET", path, "", "", nil); a.code != 200 {
			t.Errorf("anonymous %s: %d %s", path, a.code, cut(a.body))
		}
	}
	for _, path := range []string{"/", "/api", "/apis", "/openapi/v2", "/openapi/v3", "/metrics", "/api/v1/nodes", "/api/v1/namespaces/kube-system/secrets", "/debug/pprof/", "/logs"} {
		if a := s.send(client, "GET", path, "", "", nil); a.code != 403 || a.Reason != metav1.StatusReasonForbidden || !strings.Contains(a.body, "system:anonymous") {
			t.Errorf("anonymous %s: %d %s", path, a.code, cut(a.body))
		}
	}
	for what, header := range map[string]string{"a wrong token": "Bearer rubbish", "a JWT of another issuer": "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJvdGhlciIsInN1YiI6Im1lIn0.AAAA", "an unsigned JWT": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."} {
		if a := s.send(client, "GET", "/api/v1/nodes", "", "", map[string]string{"Authorization": header}); a.code != 401 || a.Reason != metav1.StatusReasonUnauthorized {
			t.Errorf("%s: %d %s", what, a.code, cut(a.body))
		}
	}
	if a := s.send(client, "GET", "/api/v1/nodes", "", "", map[string]string{"Impersonate-User": "admin"}); a.code != 403 {
		t.Errorf("impersonation by a stranger: %d %s", a.code, cut(a.body))
	}
	if a := s.send(client, "GET", "/api/v1/nodes", "", "", map[string]string{"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}); a.code != 403 || !strings.Contains(a.body, "system:anonymous") {
		t.Errorf("headers of a proxy: %d %s", a.code, cut(a.body))
	}
}

// TestRBAC: a service account may do what its roles say, no more, and cannot give itself more.
func TestRBAC(t *testing.T) {
	s := newSpace(t)
	s.kubectl("create", "serviceaccount", "robot")
	s.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
	s.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+s.name+":robot")
	s.kubectl("create", "configmap", "c", "--from-literal=a=1")
	s.kubectl("create", "secret", "generic", "s", "--from-literal=a=1")
	token := s.kubectl("create", "token", "robot")
	as := func(args ...string) (string, error) {
		return s.node.Run(patience, executable, append([]string{"kubectl", "--kubeconfig=/dev/null", "--server=" + s.config.Host, "--insecure-skip-tls-verify", "--token=" + token, "-n", s.name}, args...)...)
	}
	s.eventually("the role", func() error { _, err := as("get", "configmap", "c"); return err })
	for _, args := range [][]string{{"get", "secrets"}, {"get", "secret", "s"}, {"create", "configmap", "d"}, {"delete", "configmap", "c"}, {"get", "configmaps", "-n", "default"}, {"get", "nodes"},
		{"create", "clusterrolebinding", "me", "--clusterrole=cluster-admin", "--serviceaccount=" + s.name + ":robot"}, {"create", "token", "default"}, {"get", "pods", "--as=system:admin"}} {
		if out, err := as(args...); err == nil || !strings.Contains(strings.ToLower(out), "forbidden") {
			t.Errorf("%s: %s %v", strings.Join(args, " "), out, err)
		}
	}
	out, _ := as("get", "secret", "s")
	s.contains("the message", out, `secrets "s" is forbidden: User "system:serviceaccount:`+s.name+`:robot" cannot get resource "secrets" in API group "" in the namespace "`+s.name+`"`)
	s.kubectl("create", "role", "editor", "--verb=create,update,patch", "--resource=roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io")
	s.kubectl("create", "rolebinding", "editor", "--role=editor", "--serviceaccount="+s.name+":robot")
	s.eventually("escalation is refused", func() error {
		out, err := as("create", "role", "more", "--verb=get", "--resource=secrets")
		if err == nil || !strings.Contains(out, "attempting to grant RBAC permissions not currently held") {
			return fmt.Errorf("%s %v", out, err)
		}
		return nil
	})
	s.kubectl("delete", "serviceaccount", "robot")
	s.eventually("the token of a deleted account", func() error {
		if out, err := as("get", "configmap", "c"); err == nil || !strings.Contains(out, "Unauthorized") && !strings.Contains(out, "must be logged in") {
			return fmt.Errorf("%s %v", out, err)
		}
		return nil
	})
}
