package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

var jane = &user.DefaultInfo{Name: "jane", Groups: []string{"devs", "system:authenticated"}}

func TestPolicy(t *testing.T) {
	p, err := parsePolicy([]byte(head + `omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: Metadata, resources: [{group: "", resources: [secrets, "pods/log", "*/token"]}]}
- {level: Request, userGroups: [devs], namespaces: [kube-system], omitStages: [ResponseStarted], omitManagedFields: false}
- {level: RequestResponse, resources: [{group: "", resources: ["configmaps"], resourceNames: [leader]}]}
- {level: Metadata, resources: [{group: apps}]}
- {level: Request, resources: [{group: "", resources: ["pods/*"]}]}
- {level: None, resources: [{group: "", resources: ["nodes"]}], namespaces: [""]}
- {level: Metadata}
`))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &user.DefaultInfo{Name: "system:kube-proxy"}
	for _, c := range []struct {
		r    Request
		want auditv1.Level
	}{
		{Request{User: proxy, Verb: "watch", Resource: "services"}, "None"},
		{Request{User: proxy, Verb: "list", Resource: "services"}, "Metadata"},
		{Request{User: jane, Verb: "get", Path: "/healthz/etcd"}, "None"},
		{Request{User: jane, Verb: "get", Path: "/versions"}, "Metadata"},
		{Request{User: jane, Verb: "get", Resource: "secrets", Namespace: "kube-system"}, "Metadata"},
		{Request{User: jane, Verb: "get", Resource: "pods", Subresource: "log", Namespace: "kube-system"}, "Metadata"},
		{Request{User: jane, Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: "kube-system"}, "Metadata"},
		{Request{User: jane, Verb: "get", Resource: "pods", Namespace: "kube-system"}, "Request"},
		{Request{User: jane, Verb: "get", Resource: "configmaps", Namespace: "x", Name: "leader"}, "RequestResponse"},
		{Request{User: jane, Verb: "get", Resource: "configmaps", Namespace: "x", Name: "other"}, "Metadata"},
		{Request{User: jane, Verb: "get", Group: "apps", Resource: "deployments"}, "Metadata"},
		{Request{User: jane, Verb: "get", Resource: "pods", Subresource: "status"}, "Request"},
		{Request{User: jane, Verb: "get", Resource: "nodes"}, "None"},
		{Request{Verb: "get", Resource: "pods"}, "Request"},
	} {
		if got := p.decide(&c.r); got.level != c.want {
			t.Errorf("%+v: %s, want %s", c.r, got.level, c.want)
		}
	}
	v := p.decide(&Request{User: jane, Resource: "pods", Namespace: "kube-system"})
	if v.omitManagedFields || !slices.Equal(v.omit, []auditv1.Stage{"RequestReceived", "ResponseStarted"}) {
		t.Errorf("%+v", v)
	}
}

func TestBadPolicies(t *testing.T) {
	for name, text := range map[string]string{
		"no rules":      head,
		"level":         head + "rules: [{level: Everything}]",
		"unknown field": head + "rules: [{level: None, user: [x]}]",
		"other version": "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]",
		"both":          head + "rules: [{level: None, nonResourceURLs: [/x], resources: [{group: \"\"}]}]",
		"star inside":   head + "rules: [{level: None, nonResourceURLs: [\"/x*/y\"]}]",
		"no slash":      head + "rules: [{level: None, nonResourceURLs: [\"x\"]}]",
		"version":       head + "rules: [{level: None, resources: [{group: apps/v1}]}]",
		"names":         head + "rules: [{level: None, resources: [{group: \"\", resourceNames: [x]}]}]",
		"stage":         head + "omitStages: [Now]\nrules: [{level: None}]",
	} {
		if _, err := parsePolicy([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func start(t testing.TB, c Config) (*Log, func()) {
	t.Helper()
	if c.PolicyFile == "" {
		c.PolicyFile = filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(c.PolicyFile, []byte(head+"rules: [{level: RequestResponse}]"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.Now, c.Log = time.Now, slog.New(slog.DiscardHandler)
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return l, stop
}

func lines(t testing.TB, path string) (events []auditv1.Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var e auditv1.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		events = append(events, e)
	}
	return events
}

func TestLifeOfARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "audit.log")
	l, stop := start(t, Config{LogPath: path})
	rec, err := l.Begin(&Request{ID: "id", User: jane, Verb: "create", URI: "/api/v1/namespaces/x/pods?dryRun=All", Resource: "pods", Version: "v1", Namespace: "x"})
	if err != nil {
		t.Fatal(err)
	}
	rec.Impersonated(&user.DefaultInfo{Name: "joe"})
	rec.Annotate("k", "first", false)
	rec.Annotate("k", "second", false)
	rec.RequestBody([]byte(`{"a":1}`))
	rec.ResponseBody([]byte("not json"))
	rec.Complete(201)
	stop()
	events := lines(t, path)
	if len(events) != 2 || events[0].Stage != auditv1.StageRequestReceived || events[1].Stage != auditv1.StageResponseComplete {
		t.Fatalf("%+v", events)
	}
	e := events[1]
	if e.User.Username != "jane" || e.ImpersonatedUser.Username != "joe" || e.Annotations["k"] != "first" || e.ResponseStatus.Code != 201 ||
		string(e.RequestObject.Raw) != `{"a":1}` || string(e.ResponseObject.Raw) != `"not json"` || e.ObjectRef.Namespace != "x" || e.AuditID != "id" {
		t.Errorf("%+v", e)
	}
	var none *Record
	none.Annotate("a", "b", false)
	none.Complete(200)
	none.Panicked()
	if none.WantsRequest() || none.OmitsManagedFields() {
		t.Error("no record wants something")
	}
}

func TestRotationKeepsWhatItShould(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	if err := os.WriteFile(path, []byte(`{"half":`), 0o600); err != nil { // a power cut
		t.Fatal(err)
	}
	clock := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	f, err := openFile(path, 100, 0, 3, func() time.Time { clock = clock.Add(time.Minute); return clock })
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		if err := f.write(context.Background(), [][]byte{fmt.Appendf(nil, `{"line":%d}`, n), []byte(`{"more":"of it"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 4 {
		t.Errorf("%d files", len(entries))
	}
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if len(data) == 0 || len(data) > 100 || data[len(data)-1] != '\n' {
			t.Errorf("%s has %d bytes", e.Name(), len(data))
		}
		for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: %q", e.Name(), line)
			}
		}
	}
}

// TestASlowDiskDoesNotHoldRequests: the log is a pipe that nobody reads.
func TestASlowDiskDoesNotHoldRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	metrics := prometheus.NewRegistry()
	l, stop := start(t, Config{LogPath: path, BufferBytes: 64 << 10, Metrics: metrics})
	began := time.Now()
	for range 2000 {
		rec, err := l.Begin(&Request{User: jane, Verb: "get", Resource: "pods"})
		if err != nil {
			t.Fatal(err)
		}
		rec.Complete(200)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("requests waited: %v", took)
	}
	if n, err := testutil.GatherAndCount(metrics, "apiserver_audit_error_total"); err != nil || n != 1 {
		t.Errorf("losses are not counted: %d %v", n, err)
	}
	// Let the writer go, so that the test can end.
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	stop()
	_ = reader.Close()
}

func TestStrictModeRefuses(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	l, _ := start(t, Config{LogPath: "/dev/full", LogMode: ModeStrict})
	if _, err := l.Begin(&Request{User: jane, Verb: "get", Resource: "pods"}); err == nil {
		t.Error("the request was let through, though it could not be written down")
	}
	l, _ = start(t, Config{LogPath: "/dev/full", LogMode: ModeBlocking})
	if _, err := l.Begin(&Request{User: jane, Verb: "get", Resource: "pods"}); err != nil {
		t.Error(err)
	}
}

func TestWebhook(t *testing.T) {
	var mu sync.Mutex
	var got []auditv1.Event
	failures := 1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		got = append(got, list.Items...)
	}))
	defer server.Close()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: \"" + server.URL + "\"}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, stop := start(t, Config{WebhookFile: config})
	for range 3 {
		rec, _ := l.Begin(&Request{User: jane, Verb: "get", Resource: "pods"})
		rec.Complete(200)
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 6 {
		t.Errorf("%d events", len(got))
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(head+"rules: [{level: Metadata, resources: [{group: \"\", resources: [\"*/log\"]}], nonResourceURLs: [\"/a*\"]}]"), "pods", "log", "/a")
	f.Fuzz(func(t *testing.T, data []byte, resource, sub, path string) {
		p, err := parsePolicy(data)
		if err != nil {
			return
		}
		if v := p.decide(&Request{User: jane, Resource: resource, Subresource: sub, Path: path}); !slices.Contains(levels, v.level) {
			t.Errorf("level %q", v.level)
		}
	})
}

// BenchmarkOff is what a request costs when nothing is audited; BenchmarkMetadata when it is.
func BenchmarkOff(b *testing.B) {
	var l *Log
	r := &Request{User: jane, Verb: "get", Resource: "pods"}
	for b.Loop() {
		rec, _ := l.Begin(r)
		rec.Annotate("a", "b", false)
		rec.Complete(200)
	}
}

func BenchmarkMetadata(b *testing.B) {
	policy := filepath.Join(b.TempDir(), "p.yaml")
	_ = os.WriteFile(policy, []byte(head+"omitStages: [RequestReceived]\nrules: [{level: Metadata}]"), 0o600)
	l, _ := start(b, Config{LogPath: "/dev/null", PolicyFile: policy})
	r := &Request{User: jane, Verb: "get", Resource: "pods", URI: "/api/v1/namespaces/default/pods/x", Namespace: "default", Name: "x"}
	for b.Loop() {
		rec, _ := l.Begin(r)
		rec.Annotate("authorization.k8s.io/decision", "allow", false)
		rec.Complete(200)
	}
}
