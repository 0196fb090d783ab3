package credential

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setUp writes a configuration and a program that counts its calls.
func setUp(t *testing.T, config, script string) (file, bin, calls string) {
	t.Helper()
	bin = t.TempDir()
	calls = filepath.Join(bin, "calls")
	file = filepath.Join(bin, "config.yaml")
	script = strings.ReplaceAll("#!/bin/sh\ncat > $DIR/request\necho call >> $DIR/calls\n"+script+"\n", "$DIR", bin)
	if err := os.WriteFile(filepath.Join(bin, "helper"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, bin, calls
}

const good = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: helper
  matchImages: ["*.registry.example.com/team"]
  defaultCacheDuration: 1h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [--one]
  env: [{name: SECRET, value: s3cret}]
`

func answerOf(key string) string {
	return `echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"` + key + `","auth":{"*.registry.example.com":{"username":"'$1'","password":"'$SECRET'"}}}'`
}

func yes(string) bool { return true }

func TestProvider(t *testing.T) {
	file, bin, calls := setUp(t, good, answerOf("Registry"))
	p, err := Open(file, bin)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Get(t.Context(), "elsewhere/x", func(string) bool { return false }); got != nil || err != nil {
		t.Errorf("%v %v for an image that no provider is for", got, err)
	}
	want := []Credential{{"*.registry.example.com", "--one", "s3cret"}}
	for _, image := range []string{"a.registry.example.com/team/app", "a.registry.example.com/team/other", "b.registry.example.com/team/app"} {
		if got, err := p.Get(t.Context(), image, yes); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v", image, got, err)
		}
	}
	if b, _ := os.ReadFile(calls); strings.Count(string(b), "call") != 2 {
		t.Errorf("%d calls for two registries", strings.Count(string(b), "call"))
	}
	request, _ := os.ReadFile(filepath.Join(bin, "request"))
	if want := `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"b.registry.example.com/team/app"}`; string(request) != want {
		t.Errorf("request %s", request)
	}
	if got, err := (*Providers)(nil).Get(t.Context(), "x", yes); got != nil || err != nil {
		t.Error(got, err)
	}
}

func TestProvidersThatFail(t *testing.T) {
	for script, want := range map[string]string{
		"echo no luck >&2; exit 3": "no luck",
		"echo '{'":                 "its answer",
		answerOf("Sometimes"):      "cacheKeyType",
		`echo '{"kind":"CredentialProviderResponse","apiVersion":"v0"}'`: "has to be",
		"head -c 3000000 /dev/zero":                                      "larger than",
	} {
		file, bin, _ := setUp(t, good, script)
		p, err := Open(file, bin)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Get(t.Context(), "a.registry.example.com/team/app", yes); got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", script, got, err)
		}
	}
}

func TestConfigurationsThatCannotBeUsed(t *testing.T) {
	for old, change := range map[string][2]string{
		"name: helper":                         {"name: ../helper", "without a path"},
		"name: helper\n":                       {"name: missing\n", "no such file"},
		"kubelet.config.k8s.io/v1":             {"kubelet.config.k8s.io/v9", "has to be"},
		"credentialprovider.kubelet.k8s.io/v1": {"credentialprovider.kubelet.k8s.io/v1alpha1", "not supported"},
		"  defaultCacheDuration: 1h\n":         {"", "defaultCacheDuration"},
		`["*.registry.example.com/team"]`:      {"[]", "matchImages"},
		"args: [--one]":                        {"argv: [--one]", "unknown field"},
		"  args: [--one]\n":                    {"  tokenAttributes: {serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: true}\n", "tokenAttributes is not supported"},
	} {
		file, bin, _ := setUp(t, strings.Replace(good, old, change[0], 1), "true")
		if _, err := Open(file, bin); err == nil || !strings.Contains(err.Error(), change[1]) {
			t.Errorf("%s: %v", change[0], err)
		}
	}
	if _, err := Open("x", ""); err == nil {
		t.Error("a configuration without programs")
	}
	if p, err := Open("", ""); p != nil || err != nil {
		t.Error(p, err)
	}
}
