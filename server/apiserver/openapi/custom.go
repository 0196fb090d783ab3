package openapi

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

const (
	preserveUnknown = "x-kubernetes-preserve-unknown-fields"
	embedded        = "x-kubernetes-embedded-resource"
	textMetadata    = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)

func isCustom(k *api.Kind) bool {
	_, custom := k.Hub().New().(runtime.Unstructured)
	return custom
}

// custom adds what the definition of a custom kind says of one version, and of its list.
func (d *definitions) custom(k *api.Kind, v *api.Version, gvk schema.GroupVersionKind) (body, list string) {
	body = customName(gvk)
	def := d.customSchema(v)
	def["x-kubernetes-group-version-kind"] = gvkEntry(gvk)
	if selectable := selectableFields(v); selectable != nil {
		def["x-kubernetes-selectable-fields"] = selectable
	}
	d.all[body] = def

	listGVK := gvk.GroupVersion().WithKind(k.ListName())
	list = customName(listGVK)
	items := d.property2(d.prefix + body)
	properties := object{
		"metadata": d.described(d.property2(d.prefix+d.add(&metav1.ListMeta{})), "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"),
		"items":    object{"type": "array", "items": items, "description": "List of " + k.Plural + ". More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"},
	}
	d.typeMeta(properties)
	d.all[list] = object{
		"type": "object", "required": []string{"items"}, "properties": properties,
		"description": listGVK.Kind + " is a list of " + gvk.Kind, "x-kubernetes-group-version-kind": gvkEntry(listGVK),
	}
	return body, list
}

func selectableFields(v *api.Version) (out []any) {
	if v.Custom == nil {
		return nil
	}
	for _, name := range v.Custom.FieldNames {
		out = append(out, object{"fieldPath": name})
	}
	return out
}

func gvkEntry(gvk schema.GroupVersionKind) []any {
	return []any{object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}}
}

// customName is the group reversed, then version and kind: com.example.v1.Widget.
func customName(gvk schema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + gvk.Version + "." + gvk.Kind
}

// customSchema is the published schema. Where v2 has no words for something, it says less, so that a client does not
// refuse what the server takes.
func (d *definitions) customSchema(v *api.Version) object {
	open := object{"type": "object"}
	if v.Schema == nil {
		return open
	}
	def, err := plain(v.Schema())
	if err != nil {
		return open
	}
	if !d.v3 {
		if def[preserveUnknown] == true {
			return open // not even metadata: kubectl would take the fields named for the only ones
		}
		simplify(def)
	}
	properties, _ := def["properties"].(object)
	if properties == nil {
		properties = object{}
		def["properties"] = properties
	}
	d.embed(def)
	d.typeMeta(properties)
	properties["metadata"] = d.metadata()
	return def
}

// plain makes maps and lists of a schema.
func plain(schema any) (object, error) {
	data, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	out := object{}
	return out, json.Unmarshal(data, &out)
}

func (d *definitions) metadata() object {
	return d.described(d.property2(d.prefix+d.add(&metav1.ObjectMeta{})), textMetadata)
}

// property2 is a reference as a property: in v3 it stands in allOf, since a reference has no siblings there.
func (d *definitions) property2(ref string) object {
	if d.v3 {
		return object{"allOf": []any{object{"$ref": ref}}}
	}
	return object{"$ref": ref}
}

func (d *definitions) described(o object, text string) object {
	o["description"] = text
	return o
}

// typeMeta adds apiVersion and kind.
func (d *definitions) typeMeta(properties object) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	for _, name := range []string{"apiVersion", "kind"} {
		properties[name] = object{"type": "string", "description": docs[name]}
	}
}

// simplify takes out of a schema, in place, what OpenAPI v2 or its readers do not know: junctors, null, and fields beside
// unknown ones.
func simplify(s object) {
	for _, junctor := range []string{"allOf", "oneOf", "anyOf", "not"} {
		delete(s, junctor)
	}
	unknown := s[preserveUnknown] == true
	if s["nullable"] == true || unknown {
		if s["nullable"] == true || s["type"] == "object" {
			delete(s, "type")
		}
		delete(s, "items")
		delete(s, "properties")
		delete(s, "nullable")
	}
	if s["type"] == "array" && s["items"] == nil {
		delete(s, "type")
	}
	if properties, ok := s["properties"].(object); ok {
		for name, p := range properties {
			if sub, ok := p.(object); ok {
				if sub["nullable"] == true {
					dropRequired(s, name)
				}
				simplify(sub)
			}
		}
	}
	if items, ok := s["items"].(object); ok {
		simplify(items)
	}
	if more, ok := s["additionalProperties"].(object); ok {
		if more["nullable"] == true {
			delete(s, "required")
		}
		simplify(more)
	}
}

func dropRequired(s object, name string) {
	required, _ := s["required"].([]any)
	required = slices.DeleteFunc(slices.Clone(required), func(v any) bool { return v == name })
	if len(required) == 0 {
		delete(s, "required")
		return
	}
	s["required"] = required
}

// embed describes apiVersion, kind and metadata of whole objects inside an object.
func (d *definitions) embed(s object) {
	properties, _ := s["properties"].(object)
	for _, p := range properties {
		if sub, ok := p.(object); ok {
			d.embed(sub)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if sub, ok := s[key].(object); ok {
			d.embed(sub)
		}
	}
	if s[embedded] != true || !d.v3 && s[preserveUnknown] == true {
		return
	}
	if properties == nil {
		properties = object{}
		s["properties"] = properties
	}
	d.typeMeta(properties)
	properties["metadata"] = d.metadata()
	required, _ := s["required"].([]any)
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(required, any(name)) {
			required = append(required, name)
		}
	}
	s["required"] = required
}
