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

// TestCustomBodyNeedsItsKind: a built-in object may leave out what it is, a custom one may not.
func TestCustomBodyNeedsItsKind(t *testing.T) {
	var custom *api.Kind
	e := newEnv(t, func(c *apiserver.Config) {
		preserve := true
		names := apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"}
		k, err := customresource.New(&customresource.Definition{Status: apiextensionsv1.CustomResourceDefinitionStatus{AcceptedNames: names}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "a.example.com", Scope: apiextensionsv1.NamespaceScoped, Names: names,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
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
	const path = "/apis/a.example.com/v1/namespaces/default/things"
	for body, want := range map[string]int{
		`{}`: http.StatusBadRequest, `{"metadata":{"name":"a"}}`: http.StatusBadRequest,
		`{"apiVersion":"a.example.com/v1","kind":"Thing","metadata":{"name":"a"}}`: http.StatusCreated,
	} {
		w := e.do("POST", path, body)
		if w.Code != want || want != http.StatusCreated && !strings.Contains(w.Body.String(), "Object 'Kind' is missing in") {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := e.do("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`); w.Code != http.StatusCreated {
		t.Errorf("a built-in object without a kind: %d %s", w.Code, w.Body)
	}
}
