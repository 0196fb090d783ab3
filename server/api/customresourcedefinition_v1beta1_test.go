package api

import (
	"encoding/json"
	"testing"
)

// What upstream's API server writes into etcd: the schema, the columns and the subresources of all versions once, at the top.
func TestDefinitionsOfAnotherClustersEtcd(t *testing.T) {
	stored := `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"widgets.example.com","uid":"u"},
		"spec":{"group":"example.com","version":"v1","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},"scope":"Namespaced",
		"validation":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","additionalProperties":{"type":"string"}}}}},
		"subresources":{"status":{}},"additionalPrinterColumns":[{"name":"A","type":"string","JSONPath":".spec.a"}],
		"versions":[{"name":"v1","served":true,"storage":true},{"name":"v2","served":true,"storage":false}],"conversion":{"strategy":"None"},"preserveUnknownFields":false},
		"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":["v1"]}}`
	v := storedDefinition()
	beta := v.New()
	if err := json.Unmarshal([]byte(stored), beta); err != nil {
		t.Fatal(err)
	}
	hub, err := v.ToHub(beta)
	if err != nil {
		t.Fatal(err)
	}
	kind := customResourceDefinition()
	kind.Default(hub)
	d := hub.(*definition)
	if len(d.Spec.Versions) != 2 {
		t.Fatalf("%d versions", len(d.Spec.Versions))
	}
	for _, version := range d.Spec.Versions {
		spec := version.Schema.OpenAPIV3Schema.Properties["spec"]
		if spec.AdditionalProperties.Schema.Type != "string" || version.Subresources.Status == nil || version.AdditionalPrinterColumns[0].JSONPath != ".spec.a" {
			t.Errorf("%s: %+v", version.Name, version)
		}
	}
	if errs := kind.Validate(hub); len(errs) > 0 {
		t.Errorf("not valid: %v", errs)
	}
}
