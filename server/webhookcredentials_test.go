package server

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codeberg.org/skiff/skiff/server/outbound"
)

const hooksKubeconfig = `apiVersion: v1
kind: Config
users:
- name: hook.web.svc
  user: {token: of-the-service}
- name: "*.example.com"
  user: {username: u, password: p}
- name: files
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x}}
`

func TestWebhookCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hooks")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hooksKubeconfig)
	if _, err := newWebhookCredentials(file); err == nil || !strings.Contains(err.Error(), `user "files": only certificates`) {
		t.Errorf("exec: %v", err)
	}
	write(strings.Split(hooksKubeconfig, "- name: files")[0])
	c, err := newWebhookCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		target outbound.Target
		want   string
	}{
		{outbound.Target{Service: &outbound.Service{Namespace: "web", Name: "hook"}}, "Bearer of-the-service"},
		{outbound.Target{Service: &outbound.Service{Namespace: "web", Name: "hook", Port: 8443}}, ""},
		{outbound.Target{URL: "https://a.example.com/x"}, "Basic dTpw"},
		{outbound.Target{URL: "https://example.org/x"}, ""},
	} {
		got, err := c.of(&test.target)
		r, _ := http.NewRequest("POST", "https://x", nil)
		if got != nil {
			err = got.Authorize(r)
		}
		if err != nil || r.Header.Get("Authorization") != test.want {
			t.Errorf("%+v: got %q, %v; want %q", test.target, r.Header.Get("Authorization"), err, test.want)
		}
	}
	if c, err = newWebhookCredentials(""); err != nil || c != nil {
		t.Errorf("without a file: %v, %v", c, err)
	}
}
