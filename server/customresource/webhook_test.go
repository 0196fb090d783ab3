package customresource_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

// hook is a conversion webhook that calls hostname host in v1alpha1.
type hook struct {
	calls  atomic.Int32
	answer func(*apiextensionsv1.ConversionReview) // changes the right answer
	down   atomic.Bool
}

func (h *hook) Post(_ context.Context, to outbound.Target, body []byte) ([]byte, error) {
	h.calls.Add(1)
	if h.down.Load() {
		return nil, errors.New("connection refused")
	}
	if to.Service == nil || to.Service.Port != 443 || to.Service.Path != "/convert" {
		return nil, fmt.Errorf("unexpected target %+v", to)
	}
	var review apiextensionsv1.ConversionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, err
	}
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw.Raw); err != nil {
			return nil, err
		}
		u.SetAPIVersion(review.Request.DesiredAPIVersion)
		spec := u.Object["spec"].(map[string]any)
		from, to := "host", "hostname"
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "v1alpha1") {
			from, to = to, from
		}
		spec[to] = spec[from]
		delete(spec, from)
		u.SetName(u.GetName())
		data, err := u.MarshalJSON()
		if err != nil {
			return nil, err
		}
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Raw: data})
	}
	review.Request = nil
	if h.answer != nil {
		h.answer(&review)
	}
	return json.Marshal(&review)
}

func hooked(d *definition) {
	path := "/convert"
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v9", "v1"},
		ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: "n", Name: "s", Path: &path}},
	}}
	s := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	s.Properties["host"] = s.Properties["hostname"]
	delete(s.Properties, "hostname")
}

func TestWebhookConversion(t *testing.T) {
	h := &hook{}
	w := start(t, h)
	registrytest.Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	w.define(gateways(t, hooked))
	if got := w.create("v1alpha1", "a", `{spec: {host: a}}`); field(got, "spec", "host") != "a" || field(got, "spec", "hostname") != nil {
		t.Errorf("answer of create: %v", got.Object)
	}
	if got := w.get("v1", "a"); field(got, "spec", "hostname") != "a" || field(got, "spec", "className") != "standard" {
		t.Errorf("read through v1: %v", got.Object)
	}
	before := h.calls.Load()
	w.get("v1", "a")
	if h.calls.Load() != before {
		t.Error("the webhook was asked for an object of the right version")
	}
	for i := range 20 {
		w.create("v1", fmt.Sprint("b", i), `{spec: {hostname: b}}`)
	}
	before = h.calls.Load()
	list, err := w.Registry.List(w.Ctx, w.request("v1alpha1", ""), registry.ListOptions{})
	if err != nil || len(list.Items) != 21 || field(list.Items[5].(*object), "spec", "host") == nil {
		t.Fatalf("list: %v, %v", list, err)
	}
	if n := h.calls.Load() - before; n != 1 {
		t.Errorf("%d calls for one list", n)
	}
	got, err := w.change("v1alpha1", "a", "", func(u *object) { _ = unstructured.SetNestedField(u.Object, int64(5), "spec", "replicas") })
	if err != nil || got.GetGeneration() != 2 || field(w.get("v1", "a"), "spec", "replicas") != int64(5) {
		t.Errorf("update through v1alpha1: %v, %v", got, err)
	}

	h.down.Store(true)
	if _, err := w.Registry.Get(w.Ctx, w.request("v1alpha1", "a"), metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "conversion webhook for net.example.com/v1, Kind=Gateway failed: connection refused") {
		t.Errorf("get with the webhook down: %v", err)
	}
	if _, done, err := w.Registry.Delete(w.Ctx, w.request("v1alpha1", "a"), nil); err != nil || !done {
		t.Errorf("delete with the webhook down: %v", err)
	}
}

func TestWebhookRubbish(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(*apiextensionsv1.ConversionReview)
		want   string
	}{
		"no response":  {func(r *apiextensionsv1.ConversionReview) { r.Response = nil }, "no response provided"},
		"another uid":  {func(r *apiextensionsv1.ConversionReview) { r.Response.UID = "x" }, `expected response.uid=`},
		"another kind": {func(r *apiextensionsv1.ConversionReview) { r.Kind = "Pod" }, "expected webhook response of"},
		"failure": {func(r *apiextensionsv1.ConversionReview) {
			r.Response.Result = metav1.Status{Status: "Failure", Message: "no way"}
		}, "no way"},
		"too few":   {func(r *apiextensionsv1.ConversionReview) { r.Response.ConvertedObjects = nil }, "returned 0 objects, expected 1"},
		"no object": {func(r *apiextensionsv1.ConversionReview) { r.Response.ConvertedObjects[0].Raw = []byte(`[]`) }, "invalid converted object at index 0"},
		"wrong version": {func(r *apiextensionsv1.ConversionReview) {
			edit(r, func(u *object) { u.SetAPIVersion("net.example.com/v3") })
		}, "invalid groupVersion"},
		"another name": {func(r *apiextensionsv1.ConversionReview) { edit(r, func(u *object) { u.SetName("x") }) }, "must have the same name: a != x"},
		"bad labels": {func(r *apiextensionsv1.ConversionReview) {
			edit(r, func(u *object) { u.SetLabels(map[string]string{"-": "-"}) })
		}, "metadata.labels: Invalid value"},
		"no metadata": {func(r *apiextensionsv1.ConversionReview) { edit(r, func(u *object) { u.Object["metadata"] = "x" }) }, "invalid converted object at index 0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hook{answer: tc.answer}
			w := start(t, h)
			registrytest.Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
			w.define(gateways(t, hooked))
			w.create("v1", "a", `{spec: {hostname: a}}`)
			if _, err := w.Registry.Get(w.Ctx, w.request("v1alpha1", "a"), metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func edit(r *apiextensionsv1.ConversionReview, change func(*object)) {
	u := &object{}
	raw := &r.Response.ConvertedObjects[0]
	if err := json.Unmarshal(raw.Raw, &u.Object); err != nil {
		panic(err)
	}
	change(u)
	raw.Raw, _ = json.Marshal(u.Object)
}
