package patch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/patch"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

const (
	jsonPatch = "application/json-patch+json"
	merge     = "application/merge-patch+json"
	strategic = "application/strategic-merge-patch+json"
	apply     = "application/apply-patch+yaml"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "one", Image: "i1", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}},
			{Name: "two", Image: "i2"},
		}},
	}
}

func TestPatches(t *testing.T) {
	for _, tc := range []struct {
		name, mediaType, body string
		options               patch.Options
		want                  func(p *corev1.Pod) // changes pod() to what is expected
		code                  int
		err                   string
		warning               string
	}{
		{name: "json", mediaType: jsonPatch, body: `[{"op":"replace","path":"/spec/containers/0/image","value":"x"},{"op":"add","path":"/metadata/labels/c","value":"d"}]`,
			want: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "x"; p.Labels["c"] = "d" }},
		{name: "json test that fails", mediaType: jsonPatch, body: `[{"op":"test","path":"/spec/containers/0/image","value":"x"}]`, code: 422, err: "testing value /spec/containers/0/image failed"},
		{name: "json path that is not there", mediaType: jsonPatch, body: `[{"op":"remove","path":"/spec/nothing"}]`, code: 422, err: "nonexistent key"},
		{name: "json that is no list", mediaType: jsonPatch, body: `{}`, code: 400, err: "error decoding patch"},
		{name: "json that is too long", mediaType: jsonPatch, body: "[" + strings.Repeat(`{"op":"add","path":"/a","value":1},`, 10000) + `{"op":"add","path":"/a","value":1}]`, code: 413, err: "The allowed maximum operations in a JSON patch is 10000, got 10001"},
		{name: "merge", mediaType: merge, body: `{"metadata":{"labels":{"a":null,"c":"d"}}}`, want: func(p *corev1.Pod) { p.Labels = map[string]string{"c": "d"} }},
		{name: "merge replaces lists", mediaType: merge, body: `{"spec":{"containers":[{"name":"two","image":"x"}]}}`,
			want: func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{Name: "two", Image: "x"}} }},
		{name: "merge of the wrong type", mediaType: merge, body: `{"spec":{"containers":"x"}}`, code: 422, err: "patch: Invalid value"},
		{name: "merge with an unknown field", mediaType: merge, body: `{"spec":{"foo":1}}`, warning: `unknown field "spec.foo"`, want: func(*corev1.Pod) {}},
		{name: "merge with an unknown field, strictly", mediaType: merge, body: `{"spec":{"foo":1}}`, options: patch.Options{FieldValidation: "Strict"}, code: 422, err: `strict decoding error: unknown field "spec.foo"`},
		{name: "merge with an unknown field, ignored", mediaType: merge, body: `{"spec":{"foo":1}}`, options: patch.Options{FieldValidation: "Ignore"}, want: func(*corev1.Pod) {}},
		{name: "merge with a duplicate", mediaType: merge, body: `{"spec":{"nodeName":"a","nodeName":"b"}}`, options: patch.Options{FieldValidation: "Strict"}, code: 422, err: `duplicate field "spec.nodeName"`},
		{name: "merge with a directive that does not exist", mediaType: merge, body: `{}`, options: patch.Options{FieldValidation: "Maybe"}, code: 422, err: `fieldValidation: Unsupported value`},
		{name: "merge that is no JSON", mediaType: merge, body: `{`, code: 400, err: "error decoding patch"},
		{name: "merge that changes the kind", mediaType: merge, body: `{"kind":"Node"}`, code: 400, err: "does not match the expected API version"},
		{name: "strategic", mediaType: strategic, body: `{"spec":{"containers":[{"name":"two","image":"x"},{"name":"three","image":"y"}]}}`,
			want: func(p *corev1.Pod) {
				p.Spec.Containers[1].Image = "x"
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "three", Image: "y"})
			}},
		{name: "strategic delete", mediaType: strategic, body: `{"spec":{"containers":[{"name":"two","$patch":"delete"}]}}`, want: func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }},
		{name: "strategic of the wrong type", mediaType: strategic, body: `{"spec":{"containers":{"a":1}}}`, code: 422, err: ""},
		{name: "strategic that is no JSON", mediaType: strategic, body: `[`, code: 400, err: ""},
		{name: "strategic with an unknown field", mediaType: strategic, body: `{"spec":{"containers":[{"name":"one","foo":1}]}}`, options: patch.Options{FieldValidation: "Strict"}, code: 422, err: `unknown field "spec.containers[0].foo"`},
		{name: "unknown type", mediaType: "text/plain", body: ``, code: 415, err: "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"},
		{name: "apply without a manager", mediaType: apply, body: `{}`, code: 422, err: "fieldManager: Required value: is required for apply patch"},
		{name: "apply of another kind", mediaType: apply, body: `{"apiVersion":"v1","kind":"Node"}`, options: patch.Options{FieldManager: "m"}, code: 400, err: "invalid object type: /v1, Kind=Node"},
		{name: "apply of no YAML", mediaType: apply, body: "\t:", options: patch.Options{FieldManager: "m"}, code: 400, err: "error decoding patch"},
		{name: "apply with an unknown field", mediaType: apply, body: "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {foo: 1}", options: patch.Options{FieldManager: "m"}, code: 400, err: ".spec.foo: field not declared in schema"},
		{name: "apply with a duplicate", mediaType: apply, body: "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: a, nodeName: b}", options: patch.Options{FieldManager: "m", FieldValidation: "Strict"}, code: 400, err: `key "nodeName" already set in map`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var warnings []string
			tc.options.Kind = registrytest.Pod()
			tc.options.Warn = func(s string) { warnings = append(warnings, s) }
			before := pod()
			got, err := run(tc.mediaType, tc.body, tc.options, before)
			if !reflect.DeepEqual(before, pod()) {
				t.Error("the patch changed its argument")
			}
			if tc.code != 0 {
				var status *apierrors.StatusError
				if !errors.As(err, &status) || status.ErrStatus.Code != int32(tc.code) || !strings.Contains(status.ErrStatus.Message, tc.err) {
					t.Fatalf("got %v, want %d %q", err, tc.code, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := pod()
			tc.want(want)
			if !reflect.DeepEqual(got, runtime.Object(want)) {
				t.Errorf("got  %s\nwant %s", show(got), show(want))
			}
			if (tc.warning != "") != (len(warnings) == 1) || len(warnings) == 1 && warnings[0] != tc.warning {
				t.Errorf("warnings %q, want %q", warnings, tc.warning)
			}
		})
	}
}

func show(o any) string {
	b, _ := json.Marshal(o)
	return string(b)
}

func run(mediaType, body string, o patch.Options, current runtime.Object) (runtime.Object, error) {
	f, _, err := patch.New(mediaType, []byte(body), o)
	if err != nil {
		return nil, err
	}
	return f(current)
}

// A configuration with very many entries is refused before it costs anything.
func TestApplyOfTooMany(t *testing.T) {
	data := map[string]string{}
	for i := range 20_001 {
		data[fmt.Sprint(i)] = ""
	}
	body := show(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": data})
	var kind *api.Kind
	for _, k := range api.BuiltIn() {
		if k.Kind == "ConfigMap" {
			kind = k
		}
	}
	_, err := run(apply, body, patch.Options{Kind: kind, Version: kind.Hub(), FieldManager: "m"}, nil)
	if !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("%v", err)
	}
}

func TestStrategicOnCustomKind(t *testing.T) {
	_, _, err := patch.New(strategic, []byte(`{}`), patch.Options{Kind: registrytest.Widget()})
	if apierrors.ReasonForError(err) != metav1.StatusReasonUnsupportedMediaType {
		t.Errorf("got %v", err)
	}
}

func TestMergeOnCustomKind(t *testing.T) {
	w := registrytest.Widget().Hub().New().(*unstructured.Unstructured)
	w.SetName("w")
	out, err := run(merge, `{"spec":{"n":1,"l":[1.5]}}`, patch.Options{Kind: registrytest.Widget()}, w)
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(out.(*unstructured.Unstructured).Object, "spec", "n"); n != 1 {
		t.Errorf("got %s", show(out))
	}
	if _, err = run(merge, `{"metadata":{"labels":"x"}}`, patch.Options{Kind: registrytest.Widget()}, w); err == nil {
		t.Error("labels of the wrong type were taken")
	}
}

// Applying a merge, strategic or apply patch twice gives what applying it once gives.
func TestTwiceIsOnce(t *testing.T) {
	r, yes := rand.New(rand.NewPCG(1, 2)), true
	o := patch.Options{Kind: registrytest.Pod(), FieldManager: "m"}
	for range 100 {
		body := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p", "labels": map[string]any{fmt.Sprint("l", r.IntN(3)): fmt.Sprint(r.IntN(3))}}}
		var containers []any
		for i := range 1 + r.IntN(3) {
			containers = append(containers, map[string]any{"name": []string{"one", "two", "three"}[i], "image": fmt.Sprint("x", r.IntN(3))})
		}
		body["spec"] = map[string]any{"containers": containers}
		for _, mediaType := range []string{merge, strategic, apply} {
			o.Force = nil
			if mediaType == apply {
				o.Force = &yes
			}
			once, err := run(mediaType, show(body), o, pod())
			if err != nil {
				t.Fatalf("%s %s: %v", mediaType, show(body), err)
			}
			twice, err := run(mediaType, show(body), o, once.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(untimed(once), untimed(twice)) {
				t.Errorf("%s %s\nonce  %s\ntwice %s", mediaType, show(body), show(once), show(twice))
			}
		}
	}
}

func untimed(o runtime.Object) runtime.Object {
	o = o.DeepCopyObject()
	fields := o.(api.Object).GetManagedFields()
	for i := range fields {
		fields[i].Time = nil
	}
	return o
}

func TestThroughRegistry(t *testing.T) {
	e := registrytest.Start(t, registrytest.Options{})
	do := func(mediaType, body string, o patch.Options) (*corev1.Pod, bool, error) {
		req := e.Request(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}})
		o.Kind, req.Subresource, req.FieldManager = req.Kind, o.Subresource, o.FieldManager
		f, opts, err := patch.New(mediaType, []byte(body), o)
		if err != nil {
			return nil, false, err
		}
		out, created, err := e.Registry.Update(e.Ctx, req, f, opts)
		got, _ := out.(*corev1.Pod)
		return got, created, err
	}
	if _, _, err := do(merge, `{}`, patch.Options{}); !apierrors.IsNotFound(err) {
		t.Errorf("a merge patch of nothing: %v", err)
	}
	config := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: %s}]}"
	first, created, err := do(apply, fmt.Sprintf(config, "i"), patch.Options{FieldManager: "alice"})
	if err != nil || !created || first.UID == "" || len(first.ManagedFields) != 1 || first.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Fatalf("created %v, %v, %s", created, err, show(first))
	}
	again, created, err := do(apply, fmt.Sprintf(config, "i"), patch.Options{FieldManager: "alice"})
	if err != nil || created || again.ResourceVersion != first.ResourceVersion {
		t.Errorf("applied again: %v %v %s", created, err, show(again))
	}
	_, _, err = do(apply, fmt.Sprintf(config, "x"), patch.Options{FieldManager: "bob"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "alice": .spec.containers[name="c"].image`) {
		t.Errorf("bob got %v", err)
	}
	yes := true
	forced, _, err := do(apply, fmt.Sprintf(config, "x"), patch.Options{FieldManager: "bob", Force: &yes})
	if err != nil || forced.Spec.Containers[0].Image != "x" {
		t.Errorf("bob forced %v %s", err, show(forced))
	}
	status, _, err := do(apply, "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {phase: Running}", patch.Options{FieldManager: "kubelet", Subresource: "status"})
	if err != nil || status.Status.Phase != corev1.PodRunning || len(status.ManagedFields) != 3 {
		t.Errorf("status: %v %s", err, show(status))
	}
	merged, _, err := do(merge, `{"metadata":{"labels":{"x":"y"}},"status":{"phase":"Failed"}}`, patch.Options{FieldManager: "carol"})
	if err != nil || merged.Labels["x"] != "y" || merged.Status.Phase != corev1.PodRunning || len(merged.ManagedFields) != 4 {
		t.Errorf("merge: %v %s", err, show(merged))
	}
	_, _, err = do(merge, `{"metadata":{"resourceVersion":"1"}}`, patch.Options{})
	if !apierrors.IsConflict(err) {
		t.Errorf("a patch with a stale resourceVersion: %v", err)
	}
	_, _, err = do(merge, `{"metadata":{"uid":"other"}}`, patch.Options{})
	if !apierrors.IsConflict(err) {
		t.Errorf("a patch with another uid: %v", err)
	}
	_, _, err = do(merge, `{"metadata":{"name":"other"}}`, patch.Options{})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("a patch with another name: %v", err)
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(jsonPatch, []byte(`[{"op":"copy","from":"/spec","path":"/spec/x"}]`))
	f.Add(merge, []byte(`{"metadata":{"labels":{"a":null}}}`))
	f.Add(strategic, []byte(`{"spec":{"containers":[{"name":"one","$patch":"delete"}],"$setElementOrder/containers":[{"name":"one"}],"$retainKeys":["a"]}}`))
	f.Add(apply, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}"))
	o := patch.Options{Kind: registrytest.Pod(), FieldManager: "m"}
	f.Fuzz(func(t *testing.T, mediaType string, body []byte) {
		out, err := run(mediaType, string(body), o, pod())
		if err == nil && out == nil {
			t.Error("neither an object nor an error")
		}
		var status apierrors.APIStatus
		if err != nil && !errors.As(err, &status) {
			t.Errorf("not a Status: %v", err)
		}
	})
}

func BenchmarkMerge(b *testing.B)     { benchmark(b, merge) }
func BenchmarkStrategic(b *testing.B) { benchmark(b, strategic) }

func benchmark(b *testing.B, mediaType string) {
	o := patch.Options{Kind: registrytest.Pod()}
	p := pod()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := run(mediaType, `{"metadata":{"labels":{"x":"y"}}}`, o, p); err != nil {
			b.Fatal(err)
		}
	}
}
