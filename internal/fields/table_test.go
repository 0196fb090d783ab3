package fields

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// values are types that are read as a whole.
var values = []reflect.Type{reflect.TypeFor[metav1.Time](), reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](),
	reflect.TypeFor[metav1.ObjectMeta](), reflect.TypeFor[metav1.LabelSelector]()}

// apiFields finds all fields of the types below t: Go type → JSON name → Go name.
func apiFields(t reflect.Type, all map[string]map[string]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(values, t) || all[t.Name()] != nil {
		return
	}
	all[t.Name()] = map[string]string{}
	var below []reflect.Type
	var flat func(reflect.Type)
	flat = func(u reflect.Type) {
		for i := range u.NumField() {
			f := u.Field(i)
			if name := jsonName(f); name != "" {
				all[t.Name()][name] = f.Name
				below = append(below, f.Type)
			} else {
				flat(f.Type) // embedded: its fields are this type's
			}
		}
	}
	flat(t)
	for _, b := range below {
		apiFields(b, all)
	}
}

func roots() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, t := range []reflect.Type{reflect.TypeFor[corev1.PodSpec](), reflect.TypeFor[corev1.ServiceSpec](), reflect.TypeFor[corev1.PersistentVolumeClaimSpec]()} {
		apiFields(t, all)
	}
	return all
}

// TestEveryFieldIsInTheTable fails when the API has a field of which nobody has said what becomes of it.
func TestEveryFieldIsInTheTable(t *testing.T) {
	all := roots()
	said := map[string]bool{}
	for _, r := range Rows() {
		key := r.Type + "." + r.Field
		if said[key] {
			t.Errorf("table.txt:%d: %s is there twice", r.Line, key)
		}
		said[key] = true
		if all[r.Type] == nil || r.Field != "*" && all[r.Type][r.Field] == "" {
			t.Errorf("table.txt:%d: the API has no %s", r.Line, key)
		}
	}
	for kind, fields := range all {
		for name := range fields {
			if !said[kind+"."+name] && !said[kind+".*"] {
				t.Errorf("%s.%s is not in table.txt: is it honoured (where), refused, harmless, dropped, or for later?", kind, name)
			}
		}
	}
	if len(said) < 300 {
		t.Errorf("only %d rows: is the table read?", len(said))
	}
}

// TestTheTableDoesNotLie looks for what rows name in the source of the folders that they name: a cheap check, but it finds code that went.
func TestTheTableDoesNotLie(t *testing.T) {
	all := roots()
	sources := map[string]string{}
	for _, r := range Rows() {
		if r.Field == "*" {
			continue
		}
		for i, dir := range r.Where {
			text, ok := sources[dir]
			if !ok {
				text = source(t, dir)
				sources[dir] = text
			}
			switch goName := all[r.Type][r.Field]; {
			case r.Via != "" && strings.Contains(text, `"`+r.Via+`"`):
			case r.Verdict == Refused && strings.Contains(r.Note, `"`):
				quoted := strings.Split(r.Note, `"`)[1]
				if !strings.Contains(text, quoted) && i == len(r.Where)-1 {
					t.Errorf("table.txt:%d: %s does not say %q", r.Line, dir, quoted)
				}
			case !regexp.MustCompile(`\b` + goName + `\b`).MatchString(text):
				t.Errorf("table.txt:%d: %s mentions no %s", r.Line, dir, goName)
			}
		}
	}
}

// source of a folder of this repository, without tests.
func source(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s", dir)
	}
	var b strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(data)
	}
	return b.String()
}
