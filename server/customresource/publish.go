package customresource

import (
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const metadataRef = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// publish makes the OpenAPI v3 schema of the version, with what every object has.
func (v *version) publish() *spec.Schema {
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	if len(structuralschema.ValidateStructural(nil, v.structural)) == 0 {
		out = v.structural.Unfold().ToKubeOpenAPI()
		addObjectFields(out)
		embed(out)
	}
	out.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": v.gvk.Group, "version": v.gvk.Version, "kind": v.gvk.Kind},
	})
	if len(v.spec.SelectableFields) > 0 {
		var list []any
		for _, f := range v.spec.SelectableFields {
			list = append(list, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
		}
		out.AddExtension("x-kubernetes-selectable-fields", list)
	}
	return out
}

func addObjectFields(s *spec.Schema) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	s.SetProperty("apiVersion", *spec.StringProperty().WithDescription(docs["apiVersion"]))
	s.SetProperty("kind", *spec.StringProperty().WithDescription(docs["kind"]))
	s.SetProperty("metadata", *spec.RefSchema(metadataRef).WithDescription(metav1.PartialObjectMetadata{}.SwaggerDoc()["metadata"]))
}

// embed gives the objects within objects the fields that every object has.
func embed(s *spec.Schema) {
	if s == nil {
		return
	}
	for name, property := range s.Properties {
		if name == "metadata" && property.Ref.String() == metadataRef {
			continue
		}
		embed(&property)
		s.Properties[name] = property
	}
	if s.Items != nil {
		embed(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		embed(s.AdditionalProperties.Schema)
	}
	if is, ok := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !ok || !is {
		return
	}
	addObjectFields(s)
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(s.Required, name) {
			s.Required = append(s.Required, name)
		}
	}
}
