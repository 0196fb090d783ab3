package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"

func load(t *testing.T, text string, more map[string]string) (Settings, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range more {
		write(name, text)
	}
	return Load(write("config.yaml", text))
}

func TestLoad(t *testing.T) {
	s, err := load(t, head+`
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, audit: restricted}
    exemptions: {namespaces: [kube-system]}
- name: EventRateLimit
  path: events.yaml
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: a=b, web: "a=b,c=d"}}
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: k, operator: Exists}]
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]}]
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: hooks.kubeconfig}
`, map[string]string{"events.yaml": "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: User, qps: 1, burst: 2}]"})
	if err != nil {
		t.Fatal(err)
	}
	if d := s.PodSecurity.Defaults; d.Enforce != "baseline" || d.Warn != "privileged" || d.EnforceVersion != "latest" || s.PodSecurity.Exemptions.Namespaces[0] != "kube-system" {
		t.Errorf("PodSecurity: %+v", s.PodSecurity)
	}
	if len(s.EventRateLimits) != 1 || s.EventRateLimits[0] != (EventLimit{Type: EventsOfUser, QPS: 1, Burst: 2}) {
		t.Errorf("EventRateLimit: %+v", s.EventRateLimits)
	}
	if s.PodNodeSelector["web"] != "a=b,c=d" || s.PodTolerations.Default[0].Key != "k" || s.LimitedResources[0].MatchScopes[0].Values[0] != "high" {
		t.Errorf("got %+v", s)
	}
	if !filepath.IsAbs(s.ValidatingKubeconfig) || filepath.Base(s.ValidatingKubeconfig) != "hooks.kubeconfig" || s.MutatingKubeconfig != "" {
		t.Errorf("kubeconfigs %q and %q", s.MutatingKubeconfig, s.ValidatingKubeconfig)
	}
}

func TestLoadIsStrict(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"kind: Pod", "expected one of"},
		{head + "- {name: Nothing}", `"Nothing" is no plugin that takes a configuration; those are [EventRateLimit`},
		{head + "- {name: PodSecurity}\n- {name: PodSecurity}", "PodSecurity is configured twice"},
		{head + "- {name: PodSecurity, file: x}", `unknown field "file"`},
		{head + "- {name: PodSecurity, path: missing.yaml}", "no such file"},
		{head + "- {name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: strict}}}", "defaults.enforce"},
		{head + "- {name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, default: {}}}", "unknown field"},
		{head + "- {name: EventRateLimit, configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Everything, qps: 0, burst: 1}]}}", "limits[0].type"},
		{head + "- {name: EventRateLimit, configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration}}", "must not be empty"},
		{head + "- {name: PodNodeSelector, configuration: {podNodeSelectorPluginConfig: {a: \"b in (c)\"}}}", "podNodeSelectorPluginConfig[a]"},
		{head + "- {name: ResourceQuota, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{}]}}", "limitedResources[0].resource"},
		{head + "- {name: MutatingAdmissionWebhook, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, staticManifestsDir: /x}}", "ManifestBasedAdmissionControlConfig"},
	} {
		if _, err := load(t, test.text, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.text, err, test.want)
		}
	}
	if _, err := Load(""); err != nil {
		t.Error(err)
	}
}
