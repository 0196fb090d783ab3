package api

import (
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// definitionWarnings are for what a schema says in vain. What the old definition said already is not warned of again.
func definitionWarnings(d, old *definition) []string {
	known := map[string]bool{}
	if old != nil {
		for _, text := range schemaWarnings(internalDefinition(old)) {
			known[text] = true
		}
	}
	var out []string
	for _, text := range schemaWarnings(internalDefinition(d)) {
		if !known[text] {
			known[text] = true
			out = append(out, text)
		}
	}
	return out
}

func schemaWarnings(d *apiextensions.CustomResourceDefinition) []string {
	var formats, sets []string
	look := func(s *apiextensions.JSONSchemaProps) bool {
		if s.Format != "" {
			for _, f := range schemavalidation.GetUnrecognizedFormats(&spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}},
				environment.DefaultCompatibilityVersion()) {
				formats = append(formats, fmt.Sprintf("unrecognized format %q", f))
			}
		}
		if s.XListType != nil && *s.XListType == "set" && s.Items != nil && s.Items.Schema != nil {
			if t := s.Items.Schema.Type; t == "object" || t == "array" {
				sets = append(sets, fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", t))
			}
		}
		return false // go on
	}
	if v := d.Spec.Validation; v != nil && v.OpenAPIV3Schema != nil {
		validation.SchemaHas(v.OpenAPIV3Schema, look)
	}
	for _, v := range d.Spec.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			validation.SchemaHas(v.Schema.OpenAPIV3Schema, look)
		}
	}
	slices.Sort(sets)
	return append(formats, sets...)
}
