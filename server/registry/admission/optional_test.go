package admission_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	psconfig "k8s.io/pod-security-admission/admission/api"

	"codeberg.org/skiff/skiff/server/registry/admission"
	"codeberg.org/skiff/skiff/server/registry/admission/settings"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// enable starts a cluster with plugins that do not run by default.
func enable(t *testing.T, its settings.Settings, names ...string) *Env {
	t.Helper()
	return startWith(t, func(e *Env, c *admission.Config) {
		c.Enabled, c.Settings = names, its
		c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}
		c.Now = func() time.Time { return e.Time }
		c.EnsureNamespace = func(_ context.Context, name string) error {
			_, err := TryCreate(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
			return err
		}
	})
}

func annotate(e *Env, annotations map[string]string) {
	Mutate(e, &corev1.Namespace{ObjectMeta: metaNS}, "", func(ns *corev1.Namespace) { ns.Annotations = annotations })
}

func TestAlwaysPullImages(t *testing.T) {
	e := enable(t, settings.Settings{}, "AlwaysPullImages")
	p := Create(e, pod(func(p *corev1.Pod) {
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i", ImagePullPolicy: corev1.PullIfNotPresent}}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "r", PullPolicy: corev1.PullNever}}}}
	}))
	for _, have := range []corev1.PullPolicy{p.Spec.Containers[0].ImagePullPolicy, p.Spec.InitContainers[0].ImagePullPolicy, p.Spec.Volumes[0].Image.PullPolicy} {
		if have != corev1.PullAlways {
			t.Errorf("a pull policy is %s", have)
		}
	}
}

func TestLimitAntiAffinity(t *testing.T) {
	e := enable(t, settings.Settings{}, "LimitPodHardAntiAffinityTopology")
	with := func(key string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key}}}}
		})
	}
	_, err := TryCreate(e, with("topology.kubernetes.io/zone"))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey topology.kubernetes.io/zone but only key kubernetes.io/hostname is allowed`)
	Create(e, with(corev1.LabelHostname))
}

func TestNamespaceAutoProvisionAndExists(t *testing.T) {
	e := enable(t, settings.Settings{}, "NamespaceAutoProvision", "NamespaceExists")
	Create(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "c"}})
	if _, ok := Get(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}); !ok {
		t.Error("the namespace was not made")
	}
	_, _, err := e.Registry.Delete(e.Ctx, e.Request(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "c"}}), nil)
	if err != nil {
		t.Error(err)
	}
}

func TestPodNodeSelector(t *testing.T) {
	e := enable(t, settings.Settings{PodNodeSelector: map[string]string{"clusterDefaultNodeSelector": "env=dev", "web": "env=dev,disk=ssd"}}, "PodNodeSelector")
	with := func(name string, selector map[string]string) *corev1.Pod {
		return pod(func(p *corev1.Pod) { p.Name, p.Spec.NodeSelector = name, selector })
	}
	if p := Create(e, with("a", map[string]string{"disk": "ssd"})); p.Spec.NodeSelector["env"] != "dev" || p.Spec.NodeSelector["disk"] != "ssd" {
		t.Errorf("got %v", p.Spec.NodeSelector)
	}
	_, err := TryCreate(e, with("b", map[string]string{"env": "prod"}))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "b" is forbidden: pod node label selector conflicts with its namespace node label selector`)
	_, err = TryCreate(e, with("c", map[string]string{"zone": "z"}))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "c" is forbidden: pod node label selector labels conflict with its namespace whitelist`)
	annotate(e, map[string]string{"scheduler.alpha.kubernetes.io/node-selector": "disk=ssd"})
	if p := Create(e, with("d", nil)); len(p.Spec.NodeSelector) != 1 || p.Spec.NodeSelector["disk"] != "ssd" {
		t.Errorf("got %v", p.Spec.NodeSelector)
	}
}

func TestPodTolerationRestriction(t *testing.T) {
	exists := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
	}
	e := enable(t, settings.Settings{PodTolerations: settings.PodTolerations{Default: []corev1.Toleration{exists("cluster")}}}, "PodTolerationRestriction")
	with := func(name string, list ...corev1.Toleration) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Name, p.Spec.Tolerations = name, list
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
		})
	}
	keys := func(p *corev1.Pod) map[string]bool {
		out := map[string]bool{}
		for _, t := range p.Spec.Tolerations {
			out[t.Key] = true
		}
		return out
	}
	if have := keys(Create(e, with("a"))); !have["cluster"] || !have[corev1.TaintNodeMemoryPressure] || !have[corev1.TaintNodeNotReady] {
		t.Errorf("got %v", have)
	}
	annotate(e, map[string]string{
		"scheduler.alpha.kubernetes.io/defaultTolerations":   `[{"key":"own","operator":"Exists","effect":"NoSchedule"}]`,
		"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"operator":"Exists","effect":"NoSchedule"},{"operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]`,
	})
	if have := keys(Create(e, with("b", exists("own")))); have["cluster"] || !have["own"] {
		t.Errorf("got %v", have)
	}
	_, err := TryCreate(e, with("c", corev1.Toleration{Key: "x", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}))
	wantErr(t, err, metav1.StatusReasonForbidden, "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist")
}

func TestExtendedResourceToleration(t *testing.T) {
	e := enable(t, settings.Settings{}, "ExtendedResourceToleration")
	p := Create(e, pod(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"example.com/gpu": resource.MustParse("1"), corev1.ResourceCPU: resource.MustParse("1")}
	}))
	want := corev1.Toleration{Key: "example.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
	if len(p.Spec.Tolerations) != 3 || p.Spec.Tolerations[2] != want {
		t.Errorf("got %+v", p.Spec.Tolerations)
	}
}

func TestDenyServiceExternalIPs(t *testing.T) {
	svc := func(name string, ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name},
			Spec: corev1.ServiceSpec{ExternalIPs: ips, Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	e := enable(t, settings.Settings{}, "DenyServiceExternalIPs")
	_, err := TryCreate(e, svc("a", "1.2.3.4"))
	wantErr(t, err, metav1.StatusReasonForbidden, `services "a" is forbidden: Use of external IPs is denied by admission control`)
	Create(e, svc("b"))
}

func TestEventRateLimit(t *testing.T) {
	event := func(namespace, name string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	e := startWith(t, func(e *Env, c *admission.Config) {
		c.Enabled, c.Settings = []string{"EventRateLimit"}, settings.Settings{EventRateLimits: []settings.EventLimit{{Type: settings.EventsOfNamespace, QPS: 1, Burst: 2}}}
		c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}
		c.Now = func() time.Time { return e.Time }
	})
	Create(e, event("web", "a"))
	Create(e, event("web", "b"))
	_, err := TryCreate(e, event("web", "c"))
	wantErr(t, err, metav1.StatusReasonTooManyRequests, "limit reached on type Namespace for key web")
	e.Time = e.Time.Add(time.Second)
	Create(e, event("web", "c"))
	if _, err := admission.Table(admission.Config{Store: e.Store, Catalogue: e.Catalogue, Enabled: []string{"EventRateLimit"}}); err == nil {
		t.Error("a limiter without limits is made")
	}
}

func TestAlwaysDeny(t *testing.T) {
	table, err := admission.Table(admission.Config{Store: start(t).Store, Catalogue: start(t).Catalogue, Enabled: []string{"AlwaysDeny"},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}})
	if err != nil || table[len(table)-1].Name != "AlwaysDeny" {
		t.Errorf("got %v, %v", table[len(table)-1].Name, err)
	}
}

func TestPodTopologyLabels(t *testing.T) {
	e := start(t)
	Create(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
		corev1.LabelTopologyZone: "z1", corev1.LabelTopologyRegion: "r1", corev1.LabelHostname: "n1"}}})
	p := Create(e, pod(nil))
	req := e.Request(p)
	req.Subresource = "binding"
	if _, err := e.Registry.Create(e.Ctx, req, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	bound, _ := Get(e, p)
	direct := Create(e, pod(func(p *corev1.Pod) {
		p.Name, p.Spec.NodeName, p.Labels = "q", "n1", map[string]string{corev1.LabelTopologyZone: "elsewhere"}
	}))
	for _, p := range []*corev1.Pod{bound, direct} {
		if p.Labels[corev1.LabelTopologyZone] != "z1" || p.Labels[corev1.LabelTopologyRegion] != "r1" || p.Labels[corev1.LabelHostname] != "" {
			t.Errorf("pod %s: labels %v", p.Name, p.Labels)
		}
	}
}

func TestPodSecurityDefaultsAndExemptions(t *testing.T) {
	config := &psconfig.PodSecurityConfiguration{
		Defaults:   psconfig.PodSecurityDefaults{Enforce: "baseline", EnforceVersion: "latest", Warn: "privileged", WarnVersion: "latest", Audit: "restricted", AuditVersion: "latest"},
		Exemptions: psconfig.PodSecurityExemptions{Usernames: []string{"operator"}, Namespaces: []string{"kube-system"}, RuntimeClasses: []string{"vm"}},
	}
	e := enable(t, settings.Settings{PodSecurity: config})
	privileged := func(name, namespace string) *corev1.Pod {
		return pod(func(p *corev1.Pod) { p.Name, p.Namespace, p.Spec.HostNetwork = name, namespace, true })
	}
	notes := map[string]string{}
	create := func(p *corev1.Pod) error {
		clear(notes)
		req := e.Request(p)
		req.Annotate = func(key, value string, _ bool) { notes[key] = value }
		_, err := e.Registry.Create(e.Ctx, req, p)
		return err
	}
	wantErr(t, create(privileged("a", "web")), metav1.StatusReasonForbidden, `violates PodSecurity "baseline:latest": host namespaces`)
	if notes["pod-security.kubernetes.io/enforce-policy"] != "baseline:latest" || notes["pod-security.kubernetes.io/audit-violations"] == "" {
		t.Errorf("audit annotations %v", notes)
	}
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
	Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "default"}})
	if err := create(privileged("b", "kube-system")); err != nil || notes["pod-security.kubernetes.io/exempt"] != "namespace" {
		t.Errorf("%v, audit annotations %v", err, notes)
	}
	e.User = &user.DefaultInfo{Name: "operator"}
	if err := create(privileged("c", "web")); err != nil || notes["pod-security.kubernetes.io/exempt"] != "user" {
		t.Errorf("%v, audit annotations %v", err, notes)
	}
}

func TestLimitedResources(t *testing.T) {
	e := enable(t, settings.Settings{LimitedResources: []settings.LimitedResource{{Resource: "configmaps", MatchContains: []string{"configmaps"}}}})
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "c"}}
	_, err := TryCreate(e, c)
	wantErr(t, err, metav1.StatusReasonForbidden, `configmaps "c" is forbidden: insufficient quota to consume: configmaps,count/configmaps`)
	Create(e, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"configmaps": resource.MustParse("5"), "count/configmaps": resource.MustParse("5")}}})
	Create(e, c)
}
