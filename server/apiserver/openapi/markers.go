package openapi

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"codeberg.org/skiff/skiff/server/registry/managedfields"
)

// Go types do not say which lists are sets or maps, what a field's default is, or which strings there are of an enum.
// The first two are in the schema by which server-side apply merges; the third is enums.txt.

//go:embed enums.txt
var enumText string

// enums are the values of the string types that have a fixed set of them, by definition name without io.k8s.api.
var enums = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	lines := bufio.NewScanner(strings.NewReader(enumText))
	for lines.Scan() {
		if name, values, ok := strings.Cut(lines.Text(), "\t"); ok && !strings.HasPrefix(name, "#") {
			all[name] = strings.Split(values, "\t")
		}
	}
	return all
})

// noValue stands in enums.txt for the empty string.
const noValue = `""`

// enum returns the values of a string type as a document has them; nil if it may be anything.
func enum(t reflect.Type) []any {
	var out []any
	for _, value := range enums()[shortName(t)] {
		if value == noValue {
			value = ""
		}
		out = append(out, value)
	}
	return out
}

func shortName(t reflect.Type) string { return strings.TrimPrefix(nameOf(t), "io.k8s.api.") }

// markType adds what is said of a type as a whole.
func markType(def object, m *schema.Map) {
	if m == nil {
		return
	}
	if m.ElementRelationship == schema.Atomic {
		def["x-kubernetes-map-type"] = "atomic"
	}
	if len(m.Unions) == 0 {
		return
	}
	var unions []any
	for _, u := range m.Unions {
		fields, union := object{}, object{}
		for _, f := range u.Fields {
			fields[f.FieldName] = f.DiscriminatorValue
		}
		if u.Discriminator != nil {
			union["discriminator"] = *u.Discriminator
		}
		union["fields-to-discriminateBy"] = fields
		unions = append(unions, union)
	}
	def["x-kubernetes-unions"] = unions
}

// markField adds what is said of a field: how its list or map merges, and its default.
func (d *definitions) markField(p object, def, name string, f reflect.StructField, always bool) {
	var marks schema.StructField
	known, m := managedfields.FindType(def)
	if m != nil {
		marks, _ = m.FindField(name)
	} else {
		known = managedfields.BuiltIn()
	}
	if atom, ok := known.Resolve(marks.Type); ok {
		markList(p, f.Type, atom.List)
		if atom.Map != nil {
			markMap(p, f.Type, marks.Type.ElementRelationship, atom.Map)
		}
	}
	if !d.v3 { // defaults were a novelty of v3
		return
	}
	if marks.Default != nil {
		p["default"] = jsonValue(marks.Default)
	} else if zero, ok := zeroOf(f.Type, always); ok {
		p["default"] = zero
	}
}

// jsonValue is what was read from YAML, with the maps of JSON.
func jsonValue(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := object{}
		for key, value := range v {
			out[fmt.Sprint(key)] = jsonValue(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(v[i])
		}
		return out
	}
	return v
}

func markList(p object, t reflect.Type, l *schema.List) {
	if l == nil || t.Kind() != reflect.Slice {
		return
	}
	switch {
	case l.ElementRelationship == schema.Atomic:
		p["x-kubernetes-list-type"] = "atomic"
	case len(l.Keys) > 0:
		p["x-kubernetes-list-type"], p["x-kubernetes-list-map-keys"] = "map", l.Keys
	case l.ElementRelationship == schema.Associative:
		p["x-kubernetes-list-type"] = "set"
	}
}

func markMap(p object, t reflect.Type, here *schema.ElementRelationship, m *schema.Map) {
	relation := m.ElementRelationship
	if here != nil {
		relation = *here
	}
	switch {
	case t.Kind() == reflect.Map && relation == schema.Atomic:
		p["x-kubernetes-map-type"] = "atomic"
	case here != nil && relation == schema.Separable:
		p["x-kubernetes-map-type"] = "granular"
	case here != nil:
		p["x-kubernetes-map-type"] = "atomic"
	}
}

// zeroOf is the default of a field that is always written and has no other.
func zeroOf(t reflect.Type, always bool) (any, bool) {
	switch t.Kind() {
	case reflect.Struct:
		return object{}, !isSpecial(t)
	case reflect.String:
		return "", always
	case reflect.Bool:
		return false, always
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return json.Number("0"), always
	}
	return nil, false
}
