package structured

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// service is a webhook that answers with a func, and counts.
type service struct {
	asked  atomic.Int32
	answer func(*authorizationv1.SubjectAccessReview) int
	file   string // its kubeconfig
}

func newService(t *testing.T, answer func(*authorizationv1.SubjectAccessReview) int) *service {
	s := &service{answer: answer, file: filepath.Join(t.TempDir(), "kubeconfig")}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		code := s.answer(&review)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(filepath.Dir(s.file), "ca")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	write(t, s.file, fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority: %s}}]\n"+
		"users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", server.URL, ca))
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"

func hook(file, policy, conditions string) string {
	return fmt.Sprintf(`- type: Webhook
  name: hook.example.com
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: %s
    authorizedTTL: 1h
    unauthorizedTTL: 1h
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %s}
    matchConditions: [%s]
`, policy, file, conditions)
}

const rbac = "- {type: RBAC, name: rbac}\n"

// forBob stands for the roles: they allow bob everything.
var forBob = authz.Func(func(_ context.Context, a *authz.Attributes) (authz.Decision, string) {
	if a.User.GetName() == "bob" {
		return authz.Allow, ""
	}
	return authz.NoOpinion, "no role"
})

func start(t *testing.T, text string) (*Authorizer, string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "authorization.yaml")
	write(t, file, text)
	a, err := New(Config{File: file, Flags: Defaults, BuiltIn: map[string]authz.Authorizer{"RBAC": forBob, "Node": forBob}, Log: slog.New(slog.DiscardHandler)})
	return a, file, err
}

func ask(a *Authorizer, name, verb string, groups ...string) (authz.Decision, string) {
	return a.Opinion(context.Background(), &authz.Attributes{User: &user.DefaultInfo{Name: name, Groups: groups}, Verb: verb, Version: "v1",
		Resource: "pods", Namespace: "web", Fields: "spec.nodeName=n1", Labels: "app in (a,b)"})
}

func TestWebhook(t *testing.T) {
	s := newService(t, func(r *authorizationv1.SubjectAccessReview) int {
		a := r.Spec.ResourceAttributes
		r.Status.Allowed = r.Spec.User == "ann" && a.FieldSelector.Requirements[0].Key == "spec.nodeName" && len(a.LabelSelector.Requirements[0].Values) == 2
		r.Status.Denied = r.Spec.User == "eve"
		return http.StatusCreated
	})
	a, _, err := start(t, head+hook(s.file, "Deny", `{expression: "request.user != 'bob'"}`)+rbac)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		user  string
		want  authz.Decision
		asked int32
	}{
		{"ann", authz.Allow, 1}, {"ann", authz.Allow, 1}, // kept
		{"eve", authz.Deny, 2}, {"eve", authz.Deny, 2},
		{"joe", authz.NoOpinion, 3},
		{"bob", authz.Allow, 3}, // the condition leaves him to the roles
	} {
		if got, reason := ask(a, test.user, "list"); got != test.want || s.asked.Load() != test.asked {
			t.Errorf("%s: got %d (%s) after %d questions, want %d after %d", test.user, got, reason, s.asked.Load(), test.want, test.asked)
		}
	}
	if got, _ := ask(a, "root", "list", "system:masters"); got != authz.Allow || s.asked.Load() != 3 {
		t.Error("the webhook is asked about system:masters")
	}
	if a.Incomplete() == "" {
		t.Error("the rules of a webhook are said to be known")
	}
}

func TestWebhookFails(t *testing.T) {
	broken := newService(t, func(*authorizationv1.SubjectAccessReview) int { return http.StatusNotFound })
	for _, test := range []struct {
		policy, conditions, user string
		want                     authz.Decision
	}{
		{"Deny", "", "bob", authz.Deny},
		{"NoOpinion", "", "bob", authz.Allow},
		{"NoOpinion", "", "joe", authz.NoOpinion},
		{"Deny", `{expression: "request.resourceAttributes.name.startsWith('x') || request.extra['k'][0] == 'v'"}`, "bob", authz.Deny},
	} {
		a, _, err := start(t, head+hook(broken.file, test.policy, test.conditions)+rbac)
		if err != nil {
			t.Fatal(err)
		}
		if got, reason := ask(a, test.user, "list"); got != test.want || test.user == "joe" && !strings.Contains(reason, "authorization webhook hook.example.com: ") {
			t.Errorf("%+v: got %d (%s)", test, got, reason)
		}
	}
}

func TestReload(t *testing.T) {
	a, file, err := start(t, head+rbac)
	if err != nil {
		t.Fatal(err)
	}
	decision := func() authz.Decision { d, _ := ask(a, "joe", "list"); return d }
	if changed, err := a.reload(); changed || err != nil || decision() != authz.NoOpinion {
		t.Errorf("unchanged: %v, %v", changed, err)
	}
	for _, bad := range []string{"", head, head + "- {type: AlwaysAllow, name: alwaysallow}\n", head + rbac + "- {type: Nothing, name: x}\n", "rubbish: ["} {
		write(t, file, bad)
		if changed, err := a.reload(); changed || err == nil || decision() != authz.NoOpinion {
			t.Errorf("%q: %v, %v, %v", bad, changed, err, decision())
		}
		if _, err := a.reload(); err != nil {
			t.Errorf("%q is told twice", bad)
		}
	}
	write(t, file, head+rbac+"- {type: AlwaysAllow, name: alwaysallow}\n")
	if changed, err := a.reload(); !changed || err != nil || decision() != authz.Allow {
		t.Errorf("changed: %v, %v, %v", changed, err, decision())
	}
}

func TestFilesWithMistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{head + "- {type: ABAC, name: abac}\n", "ABAC"},
		{head + "- {type: RBAC, name: other}\n", "expected name rbac"},
		{head + rbac + rbac, "type"},
		{head + "- {type: RBAC, name: rbac, webhok: {}}\n", "unknown field"},
		{head + hook("/no/such/file", "Deny", ""), "no such file"},
		{head + hook("/no/such/file", "Perhaps", ""), "failurePolicy"},
		{head + hook("/no/such/file", "Deny", `{expression: "request.user +"}`), "matchConditions"},
	} {
		if _, _, err := start(t, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestFlags(t *testing.T) {
	hook := newService(t, nil).file
	for _, test := range []struct {
		modes       []string
		file, wants string
	}{
		{[]string{"Node", "RBAC"}, "", ""},
		{[]string{"Node", "RBAC", "Webhook"}, hook, ""},
		{[]string{"AlwaysAllow"}, "", ""},
		{[]string{"RBAC", "Webhook"}, "", "needs --authorization-webhook-config-file"},
		{[]string{"RBAC"}, hook, "needs the mode Webhook"},
		{[]string{"RBAC", "RBAC"}, "", "named twice"},
		{[]string{"ABAC"}, "", "ABAC is not there"},
		{[]string{"rbac"}, "", `"rbac" is not a valid mode; known are [AlwaysAllow AlwaysDeny Node RBAC Webhook]`},
		{nil, "", "at least one mode"},
	} {
		flags := Defaults
		flags.Modes, flags.WebhookFile = test.modes, test.file
		_, err := New(Config{Flags: flags, BuiltIn: map[string]authz.Authorizer{"RBAC": forBob, "Node": forBob}})
		if (err == nil) != (test.wants == "") || err != nil && !strings.Contains(err.Error(), test.wants) {
			t.Errorf("%v %q: got %v, want %q", test.modes, test.file, err, test.wants)
		}
	}
	if _, err := New(Config{File: "x", Flags: Flags{Modes: []string{"RBAC"}}, BuiltIn: map[string]authz.Authorizer{}}); err == nil || !strings.Contains(err.Error(), "exclude each other") {
		t.Errorf("file and flags: %v", err)
	}
}
