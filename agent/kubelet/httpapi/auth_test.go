package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
)

// reviewer is an API server that knows the token "good" of the service account "scraper", and what it may do.
type reviewer struct {
	mu      sync.Mutex
	tokens  int
	asked   []string // "verb subresource"
	allowed []string
	broken  bool
}

func (v *reviewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
		var tr authenticationv1.TokenReview
		json.NewDecoder(r.Body).Decode(&tr)
		v.tokens++
		if tr.Spec.Token == "good" {
			tr.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:mon:scraper", Groups: []string{"system:serviceaccounts"}}}
		}
		json.NewEncoder(w).Encode(tr)
	case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
		var sar authorizationv1.SubjectAccessReview
		json.NewDecoder(r.Body).Decode(&sar)
		a := sar.Spec.ResourceAttributes
		v.asked = append(v.asked, a.Verb+" "+a.Subresource)
		sar.Status.Allowed = sar.Spec.User == "system:serviceaccount:mon:scraper" && a.Name == "n1" && a.Resource == "nodes" && slices.Contains(v.allowed, a.Verb+" "+a.Subresource)
		json.NewEncoder(w).Encode(sar)
	}
}

type scraped struct{ node }

func (scraped) Pods() []*corev1.Pod { return nil }
func (scraped) Metrics(_ context.Context, w io.Writer, _ string) error {
	_, err := io.WriteString(w, "metric 1\n")
	return err
}

// endpoint returns a function that calls the node's endpoint with a token and says what it answers.
func endpoint(t *testing.T, v *reviewer) func(method, path, token string) (int, string) {
	api := httptest.NewServer(v)
	t.Cleanup(api.Close)
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	server := httptest.NewServer(httpapi.New(httpapi.Config{Node: &scraped{}, Authorizer: httpapi.NewWebhook("n1", client.AuthenticationV1(), client.AuthorizationV1()),
		Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	return func(method, path, token string) (int, string) {
		req, _ := http.NewRequest(method, server.URL+path, nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
}

func TestNobodyIsAnonymous(t *testing.T) {
	call := endpoint(t, &reviewer{})
	for _, path := range []string{"/healthz", "/metrics", "/pods", "/stats/summary", "/configz", "/exec/a/b/c", "/nothing", "/", "/debug/pprof/"} {
		for _, token := range []string{"", "bad"} {
			if code, body := call("GET", path, token); code != 401 || strings.TrimSpace(body) != "Unauthorized" {
				t.Errorf("%s with token %q: %d %s", path, token, code, body)
			}
		}
	}
}

func TestTokensAreReviewedOnce(t *testing.T) {
	v := &reviewer{allowed: []string{"get metrics"}}
	call := endpoint(t, v)
	for range 5 {
		if code, body := call("GET", "/metrics", "good"); code != 200 || body != "metric 1\n" {
			t.Fatalf("%d %s", code, body)
		}
		call("GET", "/metrics", "bad")
	}
	if v.tokens != 2 || len(v.asked) != 1 {
		t.Errorf("%d token reviews for two tokens, access reviews %v", v.tokens, v.asked)
	}
	code, body := call("GET", "/pods", "good")
	if want := "Forbidden (user=system:serviceaccount:mon:scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])"; code != 403 || strings.TrimSpace(body) != want {
		t.Errorf("%d %s", code, body)
	}
}

// TestSubresources holds which right opens which path: upstream's, with the fine-grained ones of v1.37.
func TestSubresources(t *testing.T) {
	for _, c := range []struct{ method, path, asked string }{
		{"GET", "/metrics", "get metrics"}, {"GET", "/metrics/cadvisor", "get metrics"}, {"GET", "/metrics/resource", "get metrics"}, {"GET", "/metrics/probes", "get metrics"},
		{"GET", "/stats/summary", "get stats"}, {"GET", "/logs/x", "get log"}, {"POST", "/checkpoint/a/b/c", "create checkpoint"},
		{"GET", "/pods", "get pods,get proxy"}, {"GET", "/runningpods/", "get pods,get proxy"},
		{"GET", "/healthz", "get healthz,get proxy"}, {"GET", "/healthz/ping", "get healthz,get proxy"}, {"GET", "/configz", "get configz,get proxy"},
		{"GET", "/containerLogs/a/b/c", "get proxy"}, {"POST", "/run/a/b/c", "create proxy"}, {"POST", "/exec/a/b/c", "create proxy"}, {"GET", "/attach/a/b/c", "get proxy"},
		{"DELETE", "/metricsx", "delete proxy"}, {"PATCH", "/x", "patch proxy"}, {"GET", "//metrics", "get proxy"}, {"GET", "/metrics%2F..%2Fexec/a/b/c", "get metrics"},
	} {
		v := &reviewer{}
		call := endpoint(t, v)
		if code, body := call(c.method, c.path, "good"); code != 403 {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
		if got := strings.Join(v.asked, ","); got != c.asked {
			t.Errorf("%s %s asks for %q, want %q", c.method, c.path, got, c.asked)
		}
	}
	// What passes as metrics does not reach a command.
	call := endpoint(t, &reviewer{allowed: []string{"get metrics"}})
	if code, body := call("GET", "/metrics%2F..%2Fexec/a/b/c?command=id&output=1", "good"); code != 404 {
		t.Errorf("%d %s", code, body)
	}
}

func TestTheOldRightIsEnough(t *testing.T) {
	call := endpoint(t, &reviewer{allowed: []string{"get proxy"}})
	if code, body := call("GET", "/healthz", "good"); code != 200 || body != "ok" {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := call("GET", "/metrics", "good"); code != 403 {
		t.Errorf("proxy opens metrics: %d", code)
	}
}

func TestReviewsThatFail(t *testing.T) {
	v := &reviewer{allowed: []string{"get metrics"}}
	call := endpoint(t, v)
	call("GET", "/metrics", "good")
	v.mu.Lock()
	v.broken = true
	v.mu.Unlock()
	if code, _ := call("GET", "/metrics", "other"); code != 401 {
		t.Errorf("a token that cannot be reviewed: %d", code)
	}
	if code, body := call("GET", "/stats/summary", "good"); code != 500 || !strings.HasPrefix(body, "Authorization error (user=") {
		t.Errorf("access that cannot be reviewed: %d %s", code, body)
	}
	if code, _ := call("GET", "/metrics", "good"); code != 200 {
		t.Errorf("the known answer is gone: %d", code)
	}
}
