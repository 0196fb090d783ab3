package apiserver_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/customresource"
)

// customEnv is an env with a kind of its own.
func customEnv(t *testing.T) *env {
	t.Helper()
	var custom *api.Kind
	e := newEnv(t, func(c *apiserver.Config) {
		preserve := true
		names := apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"}
		k, err := customresource.New(&customresource.Definition{Status: apiextensionsv1.CustomResourceDefinitionStatus{AcceptedNames: names,
			Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "a.example.com", Scope: apiextensionsv1.NamespaceScoped, Names: names,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
					Scale: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.n", StatusReplicasPath: ".status.n"}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve}}}},
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Catalogue.Add(k); err != nil {
			t.Fatal(err)
		}
		custom = k
	})
	if err := e.store.AddKind(context.Background(), custom); err != nil {
		t.Fatal(err)
	}
	return e
}

const things = "/apis/a.example.com/v1/namespaces/default/things"

// TestCustomBodyNeedsItsKind: a built-in object may leave out what it is, a custom one may not.
func TestCustomBodyNeedsItsKind(t *testing.T) {
	e := customEnv(t)
	for _, c := range []struct {
		body string
		code int
		text string
	}{
		{`{}`, http.StatusBadRequest, "Object 'Kind' is missing in"},
		{`{"metadata":{"name":"a"}}`, http.StatusBadRequest, "Object 'Kind' is missing in"},
		{`{"kind":"Thing","metadata":{"name":"a"}}`, http.StatusBadRequest, "the API version in the data () does not match"},
		{`{"apiVersion":"a.example.com/v2","kind":"Other","metadata":{"name":"a"}}`, http.StatusBadRequest, "the API version in the data (a.example.com/v2) does not match"},
		{`{"apiVersion":"a.example.com/v1","kind":"Other","metadata":{"name":"a"}}`, http.StatusUnprocessableEntity,
			`Other.a.example.com \"a\" is invalid: kind: Invalid value: \"Other\": must be Thing`},
		{`{"apiVersion":"a.example.com/v1","kind":"Thing","metadata":{"name":"a"}}`, http.StatusCreated, ""},
	} {
		if w := e.do("POST", things, c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
	}
	w := e.do("PATCH", things+"/a", `{"kind":"Other"}`, "Content-Type: application/merge-patch+json")
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "must be Thing") {
		t.Errorf("a patch to another kind: %d %s", w.Code, w.Body)
	}
	if w := e.do("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`); w.Code != http.StatusCreated {
		t.Errorf("a built-in object without a kind: %d %s", w.Code, w.Body)
	}
}

// TestCustomScope: above the namespaces a custom kind can only be listed; a built-in one says which methods it has not.
func TestCustomScope(t *testing.T) {
	e := customEnv(t)
	for _, method := range []string{"POST", "DELETE"} {
		if w := e.do(method, "/apis/a.example.com/v1/things", ""); w.Code != http.StatusNotFound {
			t.Errorf("%s of things: %d", method, w.Code)
		}
		if w := e.do(method, "/api/v1/configmaps", ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s of config maps: %d", method, w.Code)
		}
	}
	if w := e.do("GET", "/apis/a.example.com/v1/things", ""); w.Code != http.StatusOK {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestCustomSubresourcesBeginWithStatus(t *testing.T) {
	text := customEnv(t).do("GET", "/apis/a.example.com/v1", "").Body.String()
	status, scale := strings.Index(text, `"things/status"`), strings.Index(text, `"things/scale"`)
	if status < 0 || scale < status {
		t.Error(text)
	}
}
