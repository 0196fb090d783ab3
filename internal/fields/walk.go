package fields

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// node is where to look in values of one type: its fields with a row that needs something done, and those with such fields below.
type node struct{ steps []step }

type step struct {
	index []int
	name  string // JSON name; "" for what is embedded
	row   *Row   // nil: look below
	below *node
}

var plans sync.Map // reflect.Type → *node

// planOf a type; nil if nothing in it is dropped or warned of.
func planOf(t reflect.Type) *node {
	if p, ok := plans.Load(t); ok {
		return p.(*node)
	}
	p := build(t, map[reflect.Type]bool{})
	plans.Store(t, p)
	return p
}

// build looks at types of the API only; seen breaks cycles (JSON schemas).
func build(t reflect.Type, seen map[reflect.Type]bool) *node {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") || seen[t] {
		return nil
	}
	seen[t] = true
	defer delete(seen, t)
	n := &node{}
	for i := range t.NumField() {
		f := t.Field(i)
		s := step{index: f.Index, name: jsonName(f)}
		if row, ok := load().byKey[t.Name()+"."+s.name]; ok && (row.Verdict == Dropped || row.Verdict == Later) {
			s.row = &row
		} else if s.below = build(f.Type, seen); s.below == nil {
			continue
		}
		n.steps = append(n.steps, s)
	}
	if len(n.steps) == 0 {
		return nil
	}
	return n
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// visit calls f with every set field of v that the plan names, and its path.
func (n *node) visit(v reflect.Value, path string, f func(path string, row *Row, v reflect.Value)) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			n.visit(v.Index(i), fmt.Sprintf("%s[%d]", path, i), f)
		}
		return
	case reflect.Map:
		for _, key := range v.MapKeys() { // values of maps are never structs with such fields in the API; a pointer would be fine, too
			n.visit(v.MapIndex(key), fmt.Sprintf("%s[%v]", path, key), f)
		}
		return
	}
	for i := range n.steps {
		s := &n.steps[i]
		field := v.FieldByIndex(s.index)
		if field.IsZero() {
			continue
		}
		at := path
		if s.name != "" {
			at = strings.TrimPrefix(path+"."+s.name, ".")
		}
		if s.row == nil {
			s.below.visit(field, at, f)
		} else if s.row.When == "" || field.Kind() == reflect.String && field.String() == s.row.When {
			f(at, s.row, field)
		}
	}
}

// Drop removes from obj, a pointer to an object of the API, the fields whose feature gate is off, unless old (nil on create) has any of that
// gate. It returns a warning for each.
func Drop(obj, old any) (warnings []string) {
	plan := planOf(reflect.TypeOf(obj))
	if plan == nil {
		return nil
	}
	var kept map[string]bool
	if v := reflect.ValueOf(old); v.IsValid() && !v.IsZero() {
		plan.visit(v, "", func(_ string, row *Row, _ reflect.Value) {
			if kept == nil {
				kept = map[string]bool{}
			}
			kept[row.Note] = true
		})
	}
	plan.visit(reflect.ValueOf(obj), "", func(path string, row *Row, v reflect.Value) {
		if row.Verdict == Dropped && !kept[row.Note] {
			v.SetZero()
			warnings = append(warnings, fmt.Sprintf("%s: dropped, since the feature gate %s is off", path, row.Note))
		}
	})
	return warnings
}

// Warnings are about what a new object of a kind (of an API group, "" for the core) asks for and nothing acts on yet.
func Warnings(group, kind string, obj any) (warnings []string) {
	for _, k := range load().kinds {
		if k.kind == kind && k.group == group {
			warnings = append(warnings, k.note)
		}
	}
	if plan := planOf(reflect.TypeOf(obj)); plan != nil {
		plan.visit(reflect.ValueOf(obj), "", func(path string, row *Row, _ reflect.Value) {
			if row.Verdict == Later {
				warnings = append(warnings, path+": "+row.Note)
			}
		})
	}
	return warnings
}
