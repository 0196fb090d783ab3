package podrefs

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var update = flag.Bool("update", false, "rewrite testdata/fields.txt: what is new in it is still to be judged")

// leaves of the walk: types that name one object, and all text.
var references = []reflect.Type{
	reflect.TypeFor[corev1.LocalObjectReference](), reflect.TypeFor[corev1.SecretReference](), reflect.TypeFor[corev1.ObjectReference](),
	reflect.TypeFor[corev1.TypedLocalObjectReference](), reflect.TypeFor[corev1.TypedObjectReference](),
}

// A step of a path through types: a field, and what its type is when pointers and lists are taken off.
type leaf struct {
	id  string // Type.Field
	set func(root reflect.Value, name string)
}

// walk finds all paths from a type to its leaves.
func walk(root reflect.Type, skip ...string) (found []leaf) {
	var visit func(t reflect.Type, get func(reflect.Value) reflect.Value, seen []reflect.Type)
	visit = func(t reflect.Type, get func(reflect.Value) reflect.Value, seen []reflect.Type) {
		if slices.Contains(seen, t) {
			return
		}
		seen = append(slices.Clone(seen), t)
		for i := range t.NumField() {
			f := t.Field(i)
			id := t.Name() + "." + f.Name
			if slices.Contains(skip, id) || !f.IsExported() {
				continue
			}
			at := func(v reflect.Value) reflect.Value { return open(get(v).Field(i)) }
			switch under := bare(f.Type); {
			case slices.Contains(references, under):
				found = append(found, leaf{id: id, set: func(r reflect.Value, name string) { at(r).FieldByName("Name").SetString(name) }})
			case under.Kind() == reflect.String:
				found = append(found, leaf{id: id, set: func(r reflect.Value, name string) { at(r).SetString(name) }})
			case under.Kind() == reflect.Map || under.Kind() == reflect.Interface:
				found = append(found, leaf{id: id, set: func(reflect.Value, string) {}})
			case under.Kind() == reflect.Struct && strings.HasPrefix(under.PkgPath(), "k8s.io/api/"):
				visit(under, at, seen)
			case under.Kind() == reflect.Struct: // of apimachinery: times, quantities, selectors, metadata of a template
				found = append(found, leaf{id: id, set: func(reflect.Value, string) {}})
			}
		}
	}
	visit(root, func(v reflect.Value) reflect.Value { return v }, nil)
	return found
}

// bare takes pointers and lists off.
func bare(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// open is the value behind pointers and in the first element of lists, which are made.
func open(v reflect.Value) reflect.Value {
	for {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		case reflect.Slice:
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			v = v.Index(0)
		default:
			return v
		}
	}
}

const fields = "testdata/fields.txt"

// judged reads what each field names: a resource, or - for none.
func judged(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fields)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if id, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(id, "#") {
			out[id] = strings.TrimSpace(what)
		}
	}
	return out
}

// TestEveryField: every field of the API that holds text is judged, and one that names an object is found by Of and SecretsOf, wherever it occurs.
func TestEveryField(t *testing.T) {
	have, seen := judged(t), map[string]bool{}
	pods, volumes := walk(reflect.TypeFor[corev1.Pod]()), walk(reflect.TypeFor[corev1.PersistentVolume]())
	for _, l := range slices.Concat(pods, volumes) {
		seen[l.id] = true
	}
	if *update {
		rewrite(t, have, seen)
	}
	for id := range seen {
		if have[id] == "" || have[id] == "?" {
			t.Errorf("%s is new: does it name an object? Say so in %s, and find it in this package if it does", id, fields)
		}
	}
	for id := range have {
		if !seen[id] {
			t.Errorf("%s is in %s and not in the API", id, fields)
		}
	}
	for i, l := range pods {
		name := fmt.Sprintf("object-%d", i)
		pod := &corev1.Pod{}
		l.set(reflect.ValueOf(pod).Elem(), name)
		pod.Name = ""
		checkFound(t, l.id, have[l.id], name, pod)
	}
	for i, l := range volumes {
		want, ok := strings.CutPrefix(have[l.id], "volume:")
		if !ok {
			continue
		}
		name := fmt.Sprintf("object-%d", i)
		pv := &corev1.PersistentVolume{}
		l.set(reflect.ValueOf(pv).Elem(), name)
		var got []string
		for r := range SecretsOf(pv) {
			got = append(got, r.Name+fmt.Sprint(" ", r.Read))
		}
		if read := want != "controller"; !slices.Contains(got, fmt.Sprint(name, " ", read)) {
			t.Errorf("%s: %v", l.id, got)
		}
	}
}

func checkFound(t *testing.T, id, want, name string, pod *corev1.Pod) {
	t.Helper()
	if strings.HasPrefix(want, "volume:") {
		return
	}
	got := ""
	for r := range Of(pod) {
		if r.Name == name && r.Resource != Unknown {
			got = string(r.Resource)
			if r.Read {
				got += " read"
			}
		}
	}
	if want == "-" {
		want = ""
	}
	if got != want {
		t.Errorf("%s names %q, it is said to name %q", id, got, want)
	}
}

func rewrite(t *testing.T, have map[string]string, seen map[string]bool) {
	t.Helper()
	var out strings.Builder
	out.WriteString("# Every field of a Pod and a PersistentVolume that holds text, and which resource it names; \"read\": by the node.\n" +
		"# \"volume:\" is a Secret that a PersistentVolume names, for nodes or for controllers only; - names no object.\n")
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if have[id] == "" {
			have[id] = "?"
		}
		fmt.Fprintf(&out, "%s %s\n", id, have[id])
	}
	if err := os.WriteFile(fields, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEverySource: a volume whose source this package does not know is taken for one that refers to anything; of today's it knows all.
func TestEverySource(t *testing.T) {
	unknown := func(pod *corev1.Pod) bool {
		for r := range Of(pod) {
			if r.Resource == Unknown {
				return true
			}
		}
		return false
	}
	for f := range reflect.TypeFor[corev1.VolumeSource]().Fields() {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: make([]corev1.Volume, 1)}}
		v := reflect.ValueOf(&pod.Spec.Volumes[0].VolumeSource).Elem().FieldByName(f.Name)
		v.Set(reflect.New(v.Type().Elem()))
		if unknown(pod) {
			t.Errorf("volume source %s is unknown", f.Name)
		}
	}
	for f := range reflect.TypeFor[corev1.VolumeProjection]().Fields() {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: make([]corev1.VolumeProjection, 1)}}}}}}
		v := reflect.ValueOf(&pod.Spec.Volumes[0].Projected.Sources[0]).Elem().FieldByName(f.Name)
		v.Set(reflect.New(v.Type().Elem()))
		if unknown(pod) {
			t.Errorf("projected source %s is unknown", f.Name)
		}
	}
	if !unknown(&corev1.Pod{Spec: corev1.PodSpec{Volumes: make([]corev1.Volume, 1)}}) {
		t.Error("a source of a later version of the API would refer to nothing")
	}
}

func BenchmarkOf(b *testing.B) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "a", Containers: []corev1.Container{{Env: make([]corev1.EnvVar, 10)}},
		Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}}}}}
	b.ReportAllocs()
	for b.Loop() {
		for r := range Of(pod) {
			if r.Resource == Unknown {
				b.Fatal(r)
			}
		}
	}
}
