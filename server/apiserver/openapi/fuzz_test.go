package openapi

import (
	"encoding/json"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"codeberg.org/skiff/skiff/server/api"
)

// Whatever schema a definition has, its documents are made, v2 has no word that it does not know, and gnostic reads it.
func FuzzCustomSchema(f *testing.F) {
	f.Add(widgetSchema)
	f.Add(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)
	f.Add(`{"properties":{"a":{"nullable":true,"type":"array","items":{"not":{}}},"metadata":{"type":"string"}},"required":["a"]}`)
	f.Add(`{"additionalProperties":{"nullable":true},"required":["x"],"items":{"type":"array"}}`)
	f.Add(`{"x-kubernetes-embedded-resource":true,"properties":{"metadata":null}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var schema spec.Schema
		if json.Unmarshal([]byte(text), &schema) != nil {
			return
		}
		k := widget(t, `{"type":"object"}`)
		k.Versions[0].Schema = func() *spec.Schema { return &schema }
		d := &Documents{kinds: []*api.Kind{k}}
		doc := d.v2Custom()
		if doc == nil || d.v3("apis/ex.io/v1") == nil {
			t.Fatal("no documents")
		}
		def := doc["definitions"].(map[string]object)["io.ex.v1.Widget"]
		checkV2(t, def)
		whole, err := json.Marshal(object{"swagger": "2.0", "info": d.info(), "paths": doc["paths"], "definitions": doc["definitions"]})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = openapi_v2.ParseDocument(whole) // it may refuse extensions that it does not know; it must not panic
	})
}

// checkV2 walks where schemas are.
func checkV2(t *testing.T, s object) {
	t.Helper()
	for _, word := range []string{"anyOf", "oneOf", "allOf", "not", "nullable"} {
		if v, ok := s[word]; ok && v != false {
			t.Errorf("%q is in %v", word, s)
		}
	}
	properties, _ := s["properties"].(object)
	for _, p := range properties {
		if sub, ok := p.(object); ok {
			checkV2(t, sub)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if sub, ok := s[key].(object); ok {
			checkV2(t, sub)
		}
	}
}
