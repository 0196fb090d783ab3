package customresource_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

func unstructuredJSON(data []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

func started(t testing.TB) *world {
	w := start(t, nil)
	registrytest.Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	w.define(gateways(t))
	return w
}

func field(u *object, path ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...)
	return v
}

func TestDefaultsAndPruning(t *testing.T) {
	w := started(t)
	req := w.request("v1", "a")
	u, unknown := w.decode(req, `{metadata: {labels: {a: b}, bogus: 1}, surprise: 1, spec: {hostname: x.example.com, wrong: 2, raw: {any: {thing: 1}},
		listeners: [{name: web, port: 80, tls: null, extra: 3}], template: {apiVersion: v1, kind: Pod, metadata: {name: p, nope: 1}, spec: {free: true}}}}`)
	want := []string{`unknown field "metadata.bogus"`, `unknown field "surprise"`, `unknown field "spec.listeners[0].extra"`, `unknown field "spec.wrong"`, `unknown field "spec.template.metadata.nope"`}
	slices.Sort(want)
	slices.Sort(unknown)
	if !slices.Equal(unknown, want) {
		t.Errorf("unknown fields\n%v, want\n%v", unknown, want)
	}
	out, err := w.Registry.Create(w.Ctx, req, u)
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*object)
	for path, want := range map[string]any{"spec.className": "standard", "spec.replicas": int64(1), "spec.mode": "Active", "spec.raw.any.thing": int64(1), "spec.template.spec.free": true} {
		if have := field(got, strings.Split(path, ".")...); have != want {
			t.Errorf("%s is %v, want %v", path, have, want)
		}
	}
	if got.GetGeneration() != 1 || got.GetUID() == "" || field(got, "status") != nil {
		t.Errorf("generation %d, uid %q, status %v", got.GetGeneration(), got.GetUID(), field(got, "status"))
	}
	listener := field(got, "spec", "listeners").([]any)[0].(map[string]any)
	if listener["protocol"] != "HTTP" {
		t.Errorf("listener %v has no default", listener)
	}
	if m := got.GetManagedFields(); len(m) != 1 || !strings.Contains(string(m[0].FieldsV1.Raw), `k:{\"name\":\"web\"}`) {
		t.Errorf("managed fields do not know the keys of listeners: %v", m)
	}
}

func TestValidation(t *testing.T) {
	w := started(t)
	for text, want := range map[string]string{
		`{spec: {hostname: "UPPER"}}`:                                                `Gateway.net.example.com "x" is invalid: spec.hostname: Invalid value: "UPPER": spec.hostname in body should match '^[a-z0-9.-]+$'`,
		`{spec: {}}`:                                                                 `Gateway.net.example.com "x" is invalid: [spec.hostname: Required value, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]`,
		`{spec: {hostname: a, mode: Idle}}`:                                          `spec.mode: Unsupported value: "Idle": supported values: "Active", "Passive"`,
		`{spec: {hostname: a, replicas: 11}}`:                                        `Gateway.net.example.com "x" is invalid: spec.replicas: Forbidden: too many replicas for the class standard`,
		`{spec: {hostname: a, replicas: many}}`:                                      `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`,
		`{spec: {hostname: a, addresses: [1.1.1.1, 1.1.1.1]}}`:                       `spec.addresses[1]: Duplicate value: "1.1.1.1"`,
		`{spec: {hostname: a, listeners: [{name: a, port: 1}, {name: a, port: 2}]}}`: `spec.listeners[1]: Duplicate value: {"name":"a"}`,
		`{spec: {hostname: a, listeners: [{name: a, port: 1, protocol: HTTPS}]}}`:    `spec.listeners[0].tls: Required value: HTTPS needs tls`,
		`{spec: {hostname: a, template: {kind: Pod}}}`:                               `spec.template.apiVersion: Required value`,
	} {
		_, err := w.tryCreate("v1", "x", text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestSchemaFromProtobuf: Go clients describe additional properties without saying that they are allowed.
func TestSchemaFromProtobuf(t *testing.T) {
	w := start(t, nil)
	open := func(of apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &of}}
	}
	w.define(gateways(t, func(d *definition) {
		for i := range d.Spec.Versions {
			number := apiextensionsv1.JSONSchemaProps{Type: "integer"}
			d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["open"] = open(apiextensionsv1.JSONSchemaProps{Type: "array",
				Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"in": open(number)}}}})
		}
	}))
	got := w.create("v1", "a", "{spec: {hostname: a}, open: {x: [{in: {k: 1}}]}}")
	if text := fmt.Sprint(got.Object["open"]); text != "map[x:[map[in:map[k:1]]]]" {
		t.Error(text)
	}
	if _, err := w.tryCreate("v1", "b", "{spec: {hostname: a}, open: {x: [{in: {k: z}}]}}"); err == nil {
		t.Error("the schema of what is additional is not obeyed")
	}
}

func TestTransitionsAndRatcheting(t *testing.T) {
	w := started(t)
	w.create("v1", "a", `{spec: {hostname: a.example.com}}`)
	_, err := w.change("v1", "a", "", func(u *object) { _ = unstructured.SetNestedField(u.Object, "other", "spec", "className") })
	if err == nil || !strings.Contains(err.Error(), "className is immutable") {
		t.Errorf("a transition rule let through: %v", err)
	}
	// A stricter schema: what is wrong by it already may stay, and may not be made again.
	d, _ := registrytest.Get(w.Env, gateways(t))
	kind, _ := w.find(d, "v1")
	registrytest.Mutate(w.Env, d, "", func(d *definition) {
		s := d.Spec.Versions[1].Schema.OpenAPIV3Schema.Properties["spec"]
		h := s.Properties["hostname"]
		h.Pattern = "^strict$"
		s.Properties["hostname"] = h
	})
	w.until("the new schema is served", func() bool { now, _ := w.find(d, "v1"); return now != kind })
	got, err := w.change("v1", "a", "", func(u *object) { _ = unstructured.SetNestedField(u.Object, int64(3), "spec", "replicas") })
	if err != nil {
		t.Fatalf("what was wrong before and has not changed was refused: %v", err)
	}
	if got.GetGeneration() != 2 {
		t.Errorf("generation %d", got.GetGeneration())
	}
	if _, err = w.tryCreate("v1", "b", `{spec: {hostname: a.example.com}}`); !apierrors.IsInvalid(err) {
		t.Errorf("a new object by the old schema: %v", err)
	}
}

func TestStatusAndScale(t *testing.T) {
	w := started(t)
	w.create("v1", "a", `{spec: {hostname: a}, status: {ready: true}}`)
	got, err := w.change("v1", "a", "status", func(u *object) {
		u.Object["status"] = map[string]any{"replicas": int64(1), "selector": "app=a"}
		_ = unstructured.SetNestedField(u.Object, "ignored", "spec", "hostname")
		u.SetLabels(map[string]string{"ignored": "yes"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if field(got, "status", "phase") != "Pending" || field(got, "spec", "hostname") != "a" || got.GetGeneration() != 1 || len(got.GetLabels()) != 0 {
		t.Errorf("after a status update: %v", got.Object)
	}
	if got, err = w.change("v1", "a", "", func(u *object) { delete(u.Object, "status") }); err != nil || field(got, "status", "replicas") != int64(1) {
		t.Errorf("an update of the object touched its status: %v, %v", got, err)
	}
	if _, err := w.change("v1", "a", "status", func(u *object) { _ = unstructured.SetNestedField(u.Object, "Lost", "status", "phase") }); !apierrors.IsInvalid(err) {
		t.Errorf("a wrong status was stored: %v", err)
	}
	req := w.request("v1", "a")
	req.Subresource = "scale"
	out, _, err := w.Registry.Update(w.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		s := current.DeepCopyObject().(*autoscalingv1.Scale)
		if s.Status.Selector != "app=a" || s.Spec.Replicas != 1 {
			t.Errorf("scale %+v", s)
		}
		s.Spec.Replicas = 4
		return s, nil
	}, registry.UpdateOptions{})
	if err != nil || out.(*autoscalingv1.Scale).Spec.Replicas != 4 {
		t.Fatalf("scale: %v, %v", out, err)
	}
	if got := w.get("v1", "a"); got.GetGeneration() != 2 || field(got, "spec", "replicas") != int64(4) {
		t.Errorf("after scaling: generation %d, %v", got.GetGeneration(), field(got, "spec"))
	}
	req = w.request("v1alpha1", "a")
	req.Subresource = "scale"
	if _, err := w.Registry.Get(w.Ctx, req, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a version without scale has it: %v", err)
	}
}

// TestStatusStoresNoDefaults: who writes status through a version with other defaults than the stored one's stores none in spec.
func TestStatusStoresNoDefaults(t *testing.T) {
	w := start(t, nil)
	w.define(gateways(t, func(d *definition) {
		for i := range d.Spec.Versions {
			late := apiextensionsv1.JSONSchemaProps{Type: "string"}
			if !d.Spec.Versions[i].Storage {
				late.Default = &apiextensionsv1.JSON{Raw: []byte(`"x"`)}
			}
			d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"].Properties["late"] = late
			d.Spec.Versions[i].Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
		}
	}))
	w.create("v1", "a", `{spec: {hostname: a}}`)
	if _, err := w.change("v1alpha1", "a", "status", func(u *object) { u.Object["status"] = map[string]any{"replicas": int64(1)} }); err != nil {
		t.Fatal(err)
	}
	if got := w.get("v1", "a"); field(got, "spec", "late") != nil {
		t.Errorf("an update of status stored %v", field(got, "spec"))
	}
}

func TestVersions(t *testing.T) {
	w := started(t)
	old := w.create("v1alpha1", "a", `{spec: {hostname: a, replicas: 2}}`)
	if old.GetAPIVersion() != "net.example.com/v1alpha1" || field(old, "spec", "className") != nil {
		t.Errorf("created through v1alpha1: %v", old.Object)
	}
	got := w.get("v1", "a")
	if got.GetAPIVersion() != "net.example.com/v1" || field(got, "spec", "className") != "standard" || field(got, "spec", "replicas") != int64(2) {
		t.Errorf("read through v1: %v", got.Object)
	}
	// Another version is stored from now on; what is stored stays, until it is written again.
	d, _ := registrytest.Get(w.Env, gateways(t))
	kind, _ := w.find(d, "v1")
	d = registrytest.Mutate(w.Env, d, "", func(d *definition) {
		d.Spec.Versions[0].Storage, d.Spec.Versions[1].Storage = true, false
	})
	w.until("the new version is stored", func() bool { now, _ := w.find(d, "v1"); return now != kind })
	if !slices.Equal(d.Status.StoredVersions, []string{"v1", "v1alpha1"}) {
		t.Errorf("stored versions %v", d.Status.StoredVersions)
	}
	stored := func() string {
		req := w.request("v1", "a")
		return w.Store.Snapshot().Get(req.Kind, "default", "a").(*object).GetAPIVersion()
	}
	if stored() != "net.example.com/v1" || w.get("v1alpha1", "a").GetAPIVersion() != "net.example.com/v1alpha1" {
		t.Errorf("stored as %s", stored())
	}
	if _, err := w.change("v1", "a", "", func(*object) {}); err != nil {
		t.Fatal(err)
	}
	if stored() != "net.example.com/v1alpha1" {
		t.Errorf("an update that changes nothing left it stored as %s", stored())
	}
	list, err := w.Registry.List(w.Ctx, w.request("v1", ""), registry.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].(*object).GetAPIVersion() != "net.example.com/v1" {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestDefaultsWhenRead(t *testing.T) {
	w := started(t)
	w.create("v1", "a", `{spec: {hostname: a}}`)
	d, _ := registrytest.Get(w.Env, gateways(t))
	kind, _ := w.find(d, "v1")
	watch, err := w.Registry.Watch(w.Ctx, w.request("v1", ""), registry.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	registrytest.Mutate(w.Env, d, "", func(d *definition) {
		s := d.Spec.Versions[1].Schema.OpenAPIV3Schema.Properties["spec"]
		s.Properties["fresh"] = apiextensionsv1.JSONSchemaProps{Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"new"`)}}
		delete(s.Properties, "paused")
		d.Spec.Versions[1].SelectableFields = d.Spec.Versions[1].SelectableFields[:1]
		d.Spec.Versions[1].AdditionalPrinterColumns = nil
	})
	w.until("the new schema is served", func() bool { now, _ := w.find(d, "v1"); return now != kind })
	got := w.get("v1", "a")
	if field(got, "spec", "fresh") != "new" || field(got, "spec", "paused") != nil {
		t.Errorf("read by the new schema: %v", field(got, "spec"))
	}
	for range watch.Events {
	}
	if err := watch.Err(); err != nil {
		t.Errorf("the watch of the old definition ended with %v", err)
	}
}

func TestSelectableFields(t *testing.T) {
	w := started(t)
	w.create("v1", "a", `{spec: {hostname: a, replicas: 3}}`)
	w.create("v1", "b", `{spec: {hostname: b}}`)
	list := func(version, selector string) string {
		got, err := w.Registry.List(w.Ctx, w.request(version, ""), registry.ListOptions{Fields: fields.ParseSelectorOrDie(selector)})
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, obj := range got.Items {
			names = append(names, obj.GetName())
		}
		return strings.Join(names, ",")
	}
	for selector, want := range map[string]string{
		"spec.hostname=a": "a", "spec.paused=false": "a,b", "spec.replicas!=3": "b", "spec.hostname=a,spec.replicas=1": "", "metadata.name=b": "b",
		"spec.mode=Active": "field label not supported: spec.mode",
	} {
		if got := list("v1", selector); got != want {
			t.Errorf("%s: %s, want %s", selector, got, want)
		}
	}
	if got := list("v1alpha1", "spec.hostname=a"); got != "field label not supported: spec.hostname" {
		t.Errorf("v1alpha1 has no selectable fields, got %s", got)
	}
}

func TestColumns(t *testing.T) {
	w := started(t)
	obj := w.create("v1", "a", `{spec: {hostname: a, weight: 0.5, addresses: [1.1.1.1]}}`)
	obj.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
	k, v := w.request("v1", "").Kind, w.request("v1", "").Version
	var cells []any
	for _, c := range k.ColumnsOf(v) {
		cells = append(cells, c.Cell(obj, w.Time.Add(3*time.Hour)))
	}
	if got, want := fmt.Sprint(cells), `[a 1 0.5 True false ["1.1.1.1"] 3h]`; got != want {
		t.Errorf("cells %s, want %s", got, want)
	}
	if other := w.request("v1alpha1", "").Version; len(k.ColumnsOf(other)) != 1 || k.ColumnsOf(other)[0].Name != "Age" {
		t.Errorf("columns of a version without: %v", k.ColumnsOf(other))
	}
	if want := "net.example.com/v1alpha1 Gateway is deprecated; use net.example.com/v1 Gateway"; w.request("v1alpha1", "").Version.Deprecation != want {
		t.Errorf("warning %q", w.request("v1alpha1", "").Version.Deprecation)
	}
}

func TestPublishedSchema(t *testing.T) {
	w := started(t)
	s := w.request("v1", "").Version.Schema()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"x-kubernetes-group-version-kind":[{"group":"net.example.com","kind":"Gateway","version":"v1"}]`,
		`"x-kubernetes-list-map-keys":["name"]`, `"x-kubernetes-int-or-string":true`, `"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"`, `"description":"Spec is what is wanted."`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema lacks %s:\n%s", want, data)
		}
	}
}

func TestDefinitionIsHeldOnce(t *testing.T) {
	w := start(t, nil)
	first := registrytest.Create(w.Env, gateways(t))
	second := w.Store.Snapshot().Get(w.Catalogue.ByObject(first), "", first.Name).(*definition)
	third := registrytest.Mutate(w.Env, first, "status", func(d *definition) {
		api.SetDefinitionCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}, metav1.Now())
	})
	if &second.Spec.Versions[0] != &third.Spec.Versions[0] {
		t.Error("a change of the status made another copy of the schemas")
	}
	fourth := registrytest.Mutate(w.Env, first, "", func(d *definition) { d.Spec.Names.Categories = nil })
	if &fourth.Spec.Versions[0] == &third.Spec.Versions[0] || fourth.Spec.Names.Categories != nil || third.Spec.Names.Categories == nil {
		t.Error("a change of the spec was lost, or changed what others hold")
	}
}

// TestPublished: a definition whose names are accepted is served, but shown only when it is established.
func TestPublished(t *testing.T) {
	w := start(t, nil)
	condition := func(d *definition, c apiextensionsv1.CustomResourceDefinitionConditionType) *definition {
		return registrytest.Mutate(w.Env, d, "status", func(d *definition) {
			d.Status.AcceptedNames = d.Spec.Names
			api.SetDefinitionCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{Type: c, Status: apiextensionsv1.ConditionTrue}, metav1.Now())
		})
	}
	shown := func() bool {
		return slices.ContainsFunc(w.Catalogue.Published(), func(k *api.Kind) bool { return k.Plural == "gateways" })
	}
	d := condition(registrytest.Create(w.Env, gateways(t)), apiextensionsv1.NamesAccepted)
	w.until("the definition is served", func() bool { k, _ := w.find(d, d.Spec.Versions[0].Name); return k != nil })
	if shown() {
		t.Error("it is shown before it is established")
	}
	before := w.create("v1", "a", "{spec: {hostname: a.example.com}}")
	condition(d, apiextensionsv1.Established)
	w.until("it is shown", shown)
	if after := w.get("v1", "a"); after.GetUID() != before.GetUID() {
		t.Errorf("the object %v became %v", before, after)
	}
}

func TestRemoval(t *testing.T) {
	w := started(t)
	w.create("v1", "a", `{spec: {hostname: a}}`)
	k := w.request("v1", "").Kind
	watch, err := w.Registry.Watch(w.Ctx, w.request("v1", ""), registry.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	d, _ := registrytest.Get(w.Env, gateways(t))
	out, done := w.Delete(d, nil)
	if done || len(out.GetFinalizers()) != 1 {
		t.Fatalf("deleted before its objects were: %v", out)
	}
	registrytest.Mutate(w.Env, d, "status", func(d *definition) { d.Finalizers = nil })
	w.until("the kind is gone", func() bool { k, _ := w.find(d, "v1"); return k == nil })
	for range watch.Events {
	}
	if err := watch.Err(); err != nil {
		t.Errorf("its watch ended with %v", err)
	}
	if n := w.Store.Snapshot().Count(k, ""); n != 0 {
		t.Errorf("%d objects are still in memory", n)
	}
	var _ api.Object = out
}
