package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/webhook"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// world is a registry whose webhooks are functions, by the path of their URL.
type world struct {
	*Env
	mu    sync.Mutex
	hooks map[string]func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse
	raw   map[string]func(ctx context.Context, body []byte) ([]byte, error)
	asked []string // paths, in order
	notes map[string]string
	warns []string
}

func start(t testing.TB) *world {
	w := &world{hooks: map[string]func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse{}, raw: map[string]func(context.Context, []byte) ([]byte, error){}, notes: map[string]string{}}
	w.Env = Start(t, Options{Kinds: api.BuiltIn(), Admission: func(e *Env) []registry.Plugin {
		c := webhook.Config{Catalogue: e.Catalogue, Snapshot: e.Store.Snapshot, Post: w.post, Log: discard}
		return []registry.Plugin{webhook.Mutating(c), webhook.Validating(c)}
	}})
	Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}})
	return w
}

func (w *world) post(ctx context.Context, to *admissionv1.WebhookClientConfig, timeout time.Duration, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	name := strings.TrimPrefix(*to.URL, "https://test/")
	w.mu.Lock()
	w.asked = append(w.asked, name)
	hook, raw := w.hooks[name], w.raw[name]
	w.mu.Unlock()
	if raw != nil {
		return raw(ctx, body)
	}
	if hook == nil {
		return nil, errors.New("connection refused")
	}
	var in reviewv1.AdmissionReview
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	out := hook(in.Request)
	out.UID = in.Request.UID
	return json.Marshal(&reviewv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: out})
}

var (
	fail, ignore       = admissionv1.Fail, admissionv1.Ignore
	none               = admissionv1.SideEffectClassNone
	all                = admissionv1.OperationAll
	patchType          = reviewv1.PatchTypeJSONPatch
	ifNeeded           = admissionv1.IfNeededReinvocationPolicy
	second       int32 = 1
)

// hook makes a webhook about a resource of a group and version.
func hook(name, group, version, resource string, change ...func(*admissionv1.MutatingWebhook)) admissionv1.MutatingWebhook {
	url := "https://test/" + name
	h := admissionv1.MutatingWebhook{
		Name: name + ".example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: &second,
		ClientConfig: admissionv1.WebhookClientConfig{URL: &url},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{all},
			Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}},
	}
	for _, f := range change {
		f(&h)
	}
	return h
}

func (w *world) mutating(name string, hooks ...admissionv1.MutatingWebhook) *admissionv1.MutatingWebhookConfiguration {
	w.TB.Helper()
	return Create(w.Env, &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: hooks})
}

func (w *world) validating(name string, hooks ...admissionv1.MutatingWebhook) *admissionv1.ValidatingWebhookConfiguration {
	w.TB.Helper()
	c := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, h := range hooks {
		c.Webhooks = append(c.Webhooks, admissionv1.ValidatingWebhook{Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy,
			MatchPolicy: h.MatchPolicy, NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
			TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions})
	}
	return Create(w.Env, c)
}

func (w *world) request(obj api.Object) registry.Request {
	req := w.Request(obj)
	req.Warn = func(text string) { w.warns = append(w.warns, text) }
	req.Annotate = func(key, value string, _ bool) { w.notes[key] = value }
	return req
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"a": "1"}}
}

func allow(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	return &reviewv1.AdmissionResponse{Allowed: true}
}

func patch(steps string) func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	return func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, Patch: []byte(steps), PatchType: &patchType}
	}
}

func (w *world) create(obj api.Object) (runtime.Object, error) {
	return w.Registry.Create(w.Ctx, w.request(obj), obj)
}

func TestMutatingInOrder(t *testing.T) {
	w := start(t)
	w.hooks["one"] = patch(`[{"op":"add","path":"/data/b","value":"one"}]`)
	w.hooks["two"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		var c corev1.ConfigMap
		if err := json.Unmarshal(r.Object.Raw, &c); err != nil || c.Kind != "ConfigMap" || c.APIVersion != "v1" {
			t.Errorf("%s %v", r.Object.Raw, err)
		}
		out := patch(fmt.Sprintf(`[{"op":"replace","path":"/data/b","value":%q}]`, c.Data["b"]+"two"))(r)
		out.Warnings, out.AuditAnnotations = []string{"mind"}, map[string]string{"k": "v"}
		return out
	}
	w.mutating("b", hook("two", "", "v1", "configmaps"))
	w.mutating("a", hook("one", "", "*", "*"))
	out, err := w.create(configMap("c"))
	if err != nil {
		t.Fatal(err)
	}
	if got := out.(*corev1.ConfigMap).Data["b"]; got != "onetwo" {
		t.Errorf("b is %q", got)
	}
	if !slices.Equal(w.warns, []string{"mind"}) || w.notes["two.example.com/k"] != "v" ||
		w.notes["mutation.webhook.admission.k8s.io/round_0_index_0"] != `{"configuration":"a","mutated":true,"webhook":"one.example.com"}` {
		t.Errorf("warnings %q, notes %q", w.warns, w.notes)
	}
	if !slices.Equal(w.asked, []string{"one", "two"}) {
		t.Errorf("asked %q", w.asked)
	}
}

func TestDefaultsAfterPatch(t *testing.T) {
	w := start(t)
	w.hooks["add"] = patch(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"i","image":"x:1"}]}]`)
	w.mutating("a", hook("add", "", "v1", "pods"))
	out, err := w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "y"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if c := out.(*corev1.Pod).Spec.InitContainers; len(c) != 1 || c[0].ImagePullPolicy != corev1.PullIfNotPresent || c[0].TerminationMessagePath == "" {
		t.Errorf("%+v", c)
	}
}

func TestSecondRound(t *testing.T) {
	w := start(t)
	for name, policy := range map[string]*admissionv1.ReinvocationPolicyType{"asks": &ifNeeded, "once": nil} {
		w.hooks[name] = allow
		w.mutating("a-"+name, hook(name, "", "v1", "configmaps", func(h *admissionv1.MutatingWebhook) { h.ReinvocationPolicy = policy }))
	}
	w.hooks["late"] = patch(`[{"op":"add","path":"/data/late","value":"1"}]`)
	w.mutating("b", hook("late", "", "v1", "configmaps", func(h *admissionv1.MutatingWebhook) { h.ReinvocationPolicy = &ifNeeded }))
	if _, err := w.create(configMap("c")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"asks", "once", "late", "asks"}; !slices.Equal(w.asked, want) {
		t.Errorf("asked %q, want %q", w.asked, want)
	}
	w.asked = nil
	Create(w.Env, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	if len(w.asked) > 0 {
		t.Errorf("asked %q about an account", w.asked)
	}
}

func TestRefusals(t *testing.T) {
	w := start(t)
	w.validating("v", hook("no", "", "v1", "configmaps"))
	for name, tc := range map[string]struct {
		result *metav1.Status
		want   string
		code   int32
	}{
		"nothing": {nil, `admission webhook "no.example.com" denied the request without explanation`, 400},
		"reason":  {&metav1.Status{Reason: "Why"}, `admission webhook "no.example.com" denied the request: Why`, 400},
		"message": {&metav1.Status{Message: "so", Code: 403, Status: "Success"}, `admission webhook "no.example.com" denied the request: so`, 403},
	} {
		w.hooks["no"] = func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
			return &reviewv1.AdmissionResponse{Result: tc.result}
		}
		_, err := w.create(configMap("c"))
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Message != tc.want || status.Status().Code != tc.code || status.Status().Status != metav1.StatusFailure {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	w := start(t)
	answers := map[string]string{
		"rubbish":  "{{{",
		"empty":    "",
		"array":    "[]",
		"nothing":  `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
		"otherUID": `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"x","allowed":true}}`,
	}
	for name, text := range answers {
		w.raw[name] = func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }
	}
	w.raw["slow"] = func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
	w.raw["panics"] = func(context.Context, []byte) ([]byte, error) { panic("oh") }
	answers["slow"], answers["refused"], answers["panics"] = "", "", ""
	for name := range answers {
		for _, policy := range []*admissionv1.FailurePolicyType{&fail, &ignore} {
			c := w.validating("v-"+strings.ToLower(name), hook(strings.ToLower(name), "", "v1", "configmaps", func(h *admissionv1.MutatingWebhook) {
				url := "https://test/" + name
				h.ClientConfig.URL, h.FailurePolicy = &url, policy
			}))
			clear(w.notes)
			_, err := w.create(configMap(strings.ToLower(name) + strings.ToLower(string(*policy))))
			if policy == &ignore && (err != nil || w.notes["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"] == "") {
				t.Errorf("%s, ignored: %v, notes %q", name, err, w.notes)
			}
			if policy == &fail && (err == nil || !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "failed calling webhook")) {
				t.Errorf("%s: %v", name, err)
			}
			w.Delete(c, nil)
		}
	}
}

func TestBadPatches(t *testing.T) {
	w := start(t)
	w.mutating("m", hook("p", "", "v1", "configmaps"))
	for _, steps := range []string{`[{"op":"test","path":"/data/a","value":"2"}]`, `[{"op":"remove","path":"/metadata"}]`, `[{"op":"replace","path":"","value":null}]`,
		`[{"op":"replace","path":"/kind","value":"Secret"}]`, `[{"op":"replace","path":"/metadata/namespace","value":"other"}]`, `{"a":1}`, `[{"op":"replace","path":"/data","value":3}]`} {
		w.hooks["p"] = patch(steps)
		out, err := w.create(configMap("c"))
		if err == nil {
			t.Errorf("%s: made %+v", steps, out)
		}
	}
	w.hooks["p"] = func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, Patch: []byte(`[]`)}
	}
	if _, err := w.create(configMap("c")); err == nil || !strings.Contains(err.Error(), "response.patch but not response.patchType") {
		t.Error(err)
	}
}

func TestWhoIsAsked(t *testing.T) {
	w := start(t)
	for _, name := range []string{"exact", "equivalent", "labelled", "otherteam", "deletes", "mine", "notdry"} {
		w.hooks[name] = allow
	}
	exact := admissionv1.Exact
	some := admissionv1.SideEffectClassNoneOnDryRun
	w.validating("v",
		hook("exact", "autoscaling", "v1", "*", func(h *admissionv1.MutatingWebhook) { h.MatchPolicy = &exact }),
		hook("equivalent", "autoscaling", "v1", "*"),
		hook("labelled", "*", "*", "*", func(h *admissionv1.MutatingWebhook) {
			h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"x": "y"}}
		}),
		hook("otherteam", "*", "*", "*/*", func(h *admissionv1.MutatingWebhook) {
			h.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
		}),
		hook("deletes", "", "v1", "configmaps", func(h *admissionv1.MutatingWebhook) {
			h.Rules[0].Operations = []admissionv1.OperationType{admissionv1.Delete}
		}),
		hook("mine", "", "v1", "secrets", func(h *admissionv1.MutatingWebhook) {
			h.MatchConditions = []admissionv1.MatchCondition{{Name: "me", Expression: "request.userInfo.username == 'tester' && object.metadata.name == 'mine'"}}
		}),
		hook("notdry", "", "v1", "configmaps", func(h *admissionv1.MutatingWebhook) { h.SideEffects = &some }),
	)
	expect := func(want ...string) {
		t.Helper()
		slices.Sort(w.asked)
		if !slices.Equal(w.asked, want) {
			t.Errorf("asked %q, want %q", w.asked, want)
		}
		w.asked = nil
	}
	expect()
	var kinds []string
	w.hooks["equivalent"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		var h autoscalingv1.HorizontalPodAutoscaler
		if err := json.Unmarshal(r.Object.Raw, &h); err != nil || h.APIVersion != "autoscaling/v1" || h.Spec.MaxReplicas != 3 {
			t.Errorf("%s: %v", r.Object.Raw, err)
		}
		kinds = append(kinds, r.Kind.Version, r.RequestKind.Version, r.Resource.Version, r.RequestResource.Version)
		return allow(r)
	}
	Create(w.Env, &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "d"}}})
	if want := []string{"v1", "v2", "v1", "v2"}; !slices.Equal(kinds, want) {
		t.Errorf("versions %q, want %q", kinds, want)
	}
	expect("equivalent")
	c := configMap("c")
	Create(w.Env, c)
	expect("notdry")
	c.Labels = map[string]string{"x": "y"}
	Mutate(w.Env, c, "", func(c *corev1.ConfigMap) { c.Labels = map[string]string{"x": "y"} })
	expect("labelled", "notdry")
	w.Delete(c, nil)
	expect("deletes", "labelled", "notdry")
	Create(w.Env, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}})
	Create(w.Env, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}})
	expect("mine")
	// A namespace is judged by the labels it will have; the configuration of webhooks itself is nobody's business.
	Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"team": "b"}}})
	expect("otherteam")
	w.validating("v2", hook("otherteam", "*", "*", "*/*"))
	expect()
}

func TestDeleteCollectionAsksForEach(t *testing.T) {
	w := start(t)
	for i := range 3 {
		Create(w.Env, configMap(fmt.Sprint("c", i)))
	}
	var mu sync.Mutex
	var names []string
	w.hooks["v"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, r.Name)
		if len(r.Object.Raw) > 0 || !strings.Contains(string(r.OldObject.Raw), r.Name) || !strings.Contains(string(r.Options.Raw), "DeleteOptions") {
			t.Errorf("%s %s %s", r.Object.Raw, r.OldObject.Raw, r.Options.Raw)
		}
		return allow(r)
	}
	w.validating("v", hook("v", "", "v1", "configmaps"))
	req := w.Request(configMap(""))
	if _, err := w.Registry.DeleteCollection(w.Ctx, req, registry.ListOptions{}, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"c0", "c1", "c2"}) {
		t.Errorf("asked about %q", names)
	}
}

func TestValidatingSideBySide(t *testing.T) {
	w := start(t)
	arrived := make(chan bool)
	w.hooks["a"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse { arrived <- true; return allow(r) }
	w.hooks["b"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse { <-arrived; return allow(r) }
	w.validating("v", hook("a", "", "v1", "configmaps"), hook("b", "", "v1", "configmaps"))
	if _, err := w.create(configMap("c")); err != nil {
		t.Fatal(err)
	}
}

// A webhook may write what it is asked about: each is a request of its own, and nobody waits for a lock.
func TestCallsBack(t *testing.T) {
	w := start(t)
	w.hooks["v"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		if r.Name == "outer" {
			if _, err := w.Registry.Create(w.Ctx, w.Request(configMap("inner")), configMap("inner")); err != nil {
				t.Error(err)
			}
		}
		return allow(r)
	}
	w.validating("v", hook("v", "", "v1", "configmaps"))
	if _, err := w.create(configMap("outer")); err != nil {
		t.Fatal(err)
	}
}

func TestDryRun(t *testing.T) {
	w := start(t)
	w.hooks["v"] = func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		if r.DryRun == nil || !*r.DryRun {
			t.Error("not told that it is a dry run")
		}
		return allow(r)
	}
	w.validating("v", hook("v", "", "v1", "configmaps"))
	req := w.Request(configMap("c"))
	req.DryRun = true
	if _, err := w.Registry.Create(w.Ctx, req, configMap("c")); err != nil {
		t.Error(err)
	}
}

// FuzzAnswer: whatever a webhook answers, the request ends, and what is stored is valid.
func FuzzAnswer(f *testing.F) {
	w := start(f)
	w.mutating("m", hook("m", "", "v1", "configmaps"))
	for _, s := range []string{`{"response":{"allowed":true,"patch":"W10=","patchType":"JSONPatch"}}`, `[]`, `{"response":{"status":{"code":-1}}}`} {
		f.Add(s, `[{"op":"add","path":"/data/x","value":"y"}]`)
	}
	f.Fuzz(func(t *testing.T, answer, steps string) {
		w.raw["m"] = func(context.Context, []byte) ([]byte, error) { return []byte(answer), nil }
		req := w.Request(configMap("c"))
		req.DryRun = true
		w.Registry.Create(w.Ctx, req, configMap("c"))
		delete(w.raw, "m")
		w.hooks["m"] = patch(steps)
		if out, err := w.Registry.Create(w.Ctx, req, configMap("c")); err == nil {
			if c, ok := out.(*corev1.ConfigMap); !ok || c.Namespace != "default" {
				t.Errorf("%s made %+v", steps, out)
			}
		}
	})
}

func BenchmarkNoConfiguration(b *testing.B) {
	w := start(b)
	c := webhook.Config{Catalogue: w.Catalogue, Snapshot: w.Store.Snapshot, Post: w.post, Log: discard}
	m, v := webhook.Mutating(c), webhook.Validating(c)
	a := &registry.Attributes{Request: w.Request(configMap("c")), Verb: registry.VerbCreate, Object: configMap("c")}
	b.ReportAllocs()
	for b.Loop() {
		if m.Admit(w.Ctx, a) != nil || v.Validate(w.Ctx, a) != nil {
			b.Fatal("refused")
		}
	}
}
