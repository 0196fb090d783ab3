package customresource_test

import (
	"encoding/json"
	"os"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/customresource"
)

// FuzzSchema takes any schema that validation lets through, and any object, the whole way: nothing may panic, and what is
// valid must stay what it is when it is pruned and defaulted again.
func FuzzSchema(f *testing.F) {
	text, err := os.ReadFile("testdata/gateways.yaml")
	if err != nil {
		f.Fatal(err)
	}
	var d definition
	if err := yaml.Unmarshal(text, &d); err != nil {
		f.Fatal(err)
	}
	big, _ := json.Marshal(d.Spec.Versions[1].Schema.OpenAPIV3Schema)
	f.Add(string(big), `{"metadata":{"name":"x"},"spec":{"hostname":"a","listeners":[{"name":"a","port":1}],"maxUnavailable":"1%","template":{"apiVersion":"v1","kind":"Pod"}}}`)
	f.Add(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`, `{"a":[1,2.5,null,{"b":true}]}`)
	f.Add(`{"type":"object","properties":{"a":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"},"default":["x"]}}}`, `{"a":null}`)
	f.Add(`{"type":"object","properties":{"s":{"type":"string","maxLength":5,"x-kubernetes-validations":[{"rule":"self.startsWith('a')","optionalOldSelf":true}]}},"additionalProperties":false}`, `{"s":"b","metadata":{"labels":{"x":1}}}`)
	source, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		f.Fatal(err)
	}
	definitions := source.ByObject(&definition{})
	f.Fuzz(func(t *testing.T, schemaText, objectText string) {
		var props apiextensionsv1.JSONSchemaProps
		if json.Unmarshal([]byte(schemaText), &props) != nil {
			return
		}
		d := fuzzDefinition(&props)
		definitions.Default(d)
		definitions.PrepareCreate(d)
		if len(definitions.Validate(d)) > 0 {
			return
		}
		d.Status.AcceptedNames = d.Spec.Names
		k, err := customresource.New(d, nil)
		if err != nil {
			t.Fatalf("a valid definition cannot be served: %v", err)
		}
		content := map[string]any{}
		if unstructuredJSON([]byte(objectText), &content) != nil {
			return
		}
		through(t, k, &object{Object: content})
	})
}

func fuzzDefinition(props *apiextensionsv1.JSONSchemaProps) *definition {
	d := &definition{}
	d.Name = "things.fuzz.example.com"
	d.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "fuzz.example.com", Scope: apiextensionsv1.ClusterScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: props},
			Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "S", Type: "string", JSONPath: ".spec"}},
		}},
	}
	return d
}

func through(t *testing.T, k *api.Kind, u *object) {
	v := k.Hub()
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: k.Group, Version: "v1", Kind: k.Kind})
	if _, err := v.Prune(u); err != nil {
		return
	}
	v.Custom.Default(u)
	v.Custom.PrepareCreate(u)
	old := u.DeepCopy()
	errs := v.Custom.Validate(u)
	v.Custom.ValidateUpdate(u, old)
	v.Custom.Columns[0].Cell(u, u.GetCreationTimestamp().Time)
	v.Schema()
	if len(errs) > 0 {
		return
	}
	again := u.DeepCopy()
	if unknown, err := v.Prune(again); err != nil || len(unknown) > 0 {
		t.Errorf("pruned twice: %v, %v", unknown, err)
	}
	v.Custom.Default(again)
	v.Custom.PrepareCreate(again)
	one, _ := json.Marshal(u.Object)
	two, _ := json.Marshal(again.Object)
	if string(one) != string(two) {
		t.Errorf("an object is not stable:\n%s\n%s", one, two)
	}
}
