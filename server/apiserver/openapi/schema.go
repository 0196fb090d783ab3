package openapi

import (
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/registry/managedfields"
)

// object is a piece of a document.
type object = map[string]any

// definitions collects the schemas of Go types and of all that they refer to.
type definitions struct {
	// prefix of references: "#/definitions/" in v2, "#/components/schemas/" in v3.
	prefix string
	v3     bool
	all    map[string]object
}

func newDefinitions(v3 bool) *definitions {
	d := &definitions{prefix: "#/definitions/", v3: v3, all: map[string]object{}}
	if v3 {
		d.prefix = "#/components/schemas/"
	}
	return d
}

// nameOf is the definition's name: the import path with its host reversed, e.g. io.k8s.api.core.v1.Pod.
func nameOf(t reflect.Type) string {
	host, rest, _ := strings.Cut(t.PkgPath(), "/")
	parts := strings.Split(host, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	if rest != "" {
		parts = append(parts, strings.Split(rest, "/")...)
	}
	return strings.Join(parts, ".") + "." + t.Name()
}

// add puts the type of a value into the collection and returns its name.
func (d *definitions) add(v any) string {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return d.define(t)
}

// addKind adds the type and says which kind it is.
func (d *definitions) addKind(v any, gvk schema.GroupVersionKind) string {
	name := d.add(v)
	def := d.all[name]
	entry := object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
	list, _ := def["x-kubernetes-group-version-kind"].([]any)
	for _, have := range list {
		if h := have.(object); h["group"] == gvk.Group && h["version"] == gvk.Version && h["kind"] == gvk.Kind {
			return name
		}
	}
	def["x-kubernetes-group-version-kind"] = append(list, entry)
	return name
}

func (d *definitions) define(t reflect.Type) string {
	name := nameOf(t)
	if _, done := d.all[name]; done {
		return name
	}
	def := object{}
	d.all[name] = def // before the fields: types may be recursive
	docs := swaggerDoc(t)
	if text := docs[""]; text != "" {
		def["description"] = text
	} else if text := undocumented[name]; text != "" {
		def["description"] = text
	}
	if d.special(t, def) {
		return name
	}
	def["type"] = "object"
	_, merge := managedfields.FindType(name)
	markType(def, merge)
	properties := object{}
	var required []string
	d.fields(t, name, docs, properties, &required)
	if len(properties) > 0 {
		def["properties"] = properties
	}
	if len(required) > 0 {
		def["required"] = required
	}
	return name
}

// undocumented are types whose Go packages do not carry their documentation.
var undocumented = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity":                 "A fixed-point number with an SI (m, k, M, G …), binary (Ki, Mi, Gi …) or decimal exponent (e3) suffix, as a string or a number, e.g. 100m, 1.5Gi. It has no more than three decimal places.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":                 "A set of fields as a tree: each key is a field (f:name), an item of a list by its keys (k:{…}) or value (v:…) or index (i:0), or '.' for the thing itself.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":                "A point in time with microseconds, in RFC 3339.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":                     "A point in time, in RFC 3339, in whole seconds.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent":               "One event of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and the object (for ERROR a Status).",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":                  "An object of a kind that its field does not fix.",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString":               "A number, or a string: a name or a percentage, as its field says.",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "Any JSON value.",
}

func swaggerDoc(t reflect.Type) map[string]string {
	if s, ok := reflect.New(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return s.SwaggerDoc()
	}
	return described(t)
}

// isSpecial says that a struct type is not written as an object of its fields.
func isSpecial(t reflect.Type) bool {
	v := reflect.New(t).Interface()
	switch v.(type) {
	case *runtime.RawExtension, *metav1.FieldsV1, *metav1.Patch:
		return true
	}
	_, typed := v.(interface{ OpenAPISchemaType() []string })
	return typed
}

// special types say themselves how they look (Time, Quantity, IntOrString, Duration …).
func (d *definitions) special(t reflect.Type, def object) bool {
	v := reflect.New(t).Interface()
	switch v.(type) {
	case *runtime.RawExtension, *metav1.FieldsV1, *metav1.Patch:
		def["type"] = "object"
		return true
	}
	typed, ok := v.(interface{ OpenAPISchemaType() []string })
	if !ok {
		return false
	}
	if formatted, ok := v.(interface{ OpenAPISchemaFormat() string }); ok && formatted.OpenAPISchemaFormat() != "" {
		def["format"] = formatted.OpenAPISchemaFormat()
	}
	if several, ok := v.(interface{ OpenAPIV3OneOfTypes() []string }); ok && d.v3 {
		var one []any
		for _, name := range several.OpenAPIV3OneOfTypes() {
			one = append(one, object{"type": name})
		}
		def["oneOf"] = one
		return true
	}
	if types := typed.OpenAPISchemaType(); len(types) > 0 && types[0] != "" {
		def["type"] = types[0]
	}
	return true
}

// fields adds the properties of a struct, those of embedded structs included, to the definition called name.
func (d *definitions) fields(t reflect.Type, def string, docs map[string]string, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			d.fields(embedded, def, swaggerDoc(embedded), properties, required)
			continue
		}
		if name == "-" || name == "" || !f.IsExported() {
			continue
		}
		p := d.property(f.Type)
		if text := docs[name]; text != "" {
			p["description"] = text
		}
		if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
			p["x-kubernetes-patch-strategy"] = strategy
		}
		if key := f.Tag.Get("patchMergeKey"); key != "" {
			p["x-kubernetes-patch-merge-key"] = key
		}
		written := !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
		d.markField(p, def, name, f, written)
		properties[name] = p
		if isRequired(def, name, options) {
			*required = append(*required, name)
		}
	}
}

// isRequired reads the json tag, then the exceptions.
func isRequired(def, name, options string) bool {
	short := strings.TrimPrefix(def, "io.k8s.api.")
	if name == "metadata" {
		return slices.Contains(demanded[short], name)
	}
	if strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") {
		return slices.Contains(demanded[short], name)
	}
	return !slices.Contains(optional[short], name)
}

// property is the schema of a field: in v3 a reference stands in allOf, since it may have no siblings.
func (d *definitions) property(t reflect.Type) object {
	s := d.schemaOf(t)
	if ref, is := s["$ref"]; is && d.v3 {
		return object{"allOf": []any{object{"$ref": ref}}}
	}
	return s
}

func (d *definitions) schemaOf(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return d.schemaOf(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": d.schemaOf(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schemaOf(t.Elem())}
	case reflect.Struct:
		return object{"$ref": d.prefix + d.define(t)}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int32, reflect.Uint32, reflect.Uint8, reflect.Int16:
		return object{"type": "integer", "format": "int32"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number", "format": "double"}
	case reflect.String:
		s := object{"type": "string"}
		if values := enum(t); values != nil {
			s["enum"] = values
		}
		return s
	}
	return object{"type": "object"}
}
