package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

func TestTableIsConsistent(t *testing.T) {
	c, err := NewCatalogue(BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	prefixes, names := map[string]string{}, map[string]string{}
	for _, k := range c.Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			if k.Singular != strings.ToLower(k.Kind) {
				t.Errorf("singular %q is not the kind in lower case", k.Singular)
			}
			for _, n := range append([]string{k.Plural}, k.ShortNames...) {
				if have, taken := names[n]; taken {
					t.Errorf("the name %q is taken by %s", n, have)
				}
				names[n] = k.Kind
			}
			if k.Virtual {
				if k.Prefix != "" || !slices.Equal(k.Verbs, []string{"create"}) {
					t.Errorf("a virtual kind has no prefix and one verb, got %q and %v", k.Prefix, k.Verbs)
				}
			} else if have, taken := prefixes[k.Prefix]; taken || !strings.HasPrefix(k.Prefix, "/registry/") {
				t.Errorf("prefix %q: taken by %q, or not below /registry", k.Prefix, have)
			}
			prefixes[k.Prefix] = k.Kind
			for i, v := range k.Versions {
				checkVersion(t, k, i, v)
			}
			if got := c.ByObject(k.Hub().New()); got != k {
				t.Errorf("ByObject found %v", got)
			}
		})
	}
}

func checkVersion(t *testing.T, k *Kind, i int, v Version) {
	gvks, _, err := Scheme.ObjectKinds(v.New())
	if err != nil {
		t.Fatal(err)
	}
	if want := gvk(v.Group, v.Version, k.Kind); !slices.Contains(gvks, want) {
		t.Errorf("New makes a %v, not a %v", gvks, want)
	}
	if !k.Virtual {
		gvks, _, err = Scheme.ObjectKinds(v.NewList())
		if err != nil || !slices.Contains(gvks, gvk(v.Group, v.Version, k.Kind+"List")) {
			t.Errorf("NewList makes a %v (%v)", gvks, err)
		}
	}
	if hub := v.ToHub == nil && v.FromHub == nil; hub != (i == 0) {
		t.Error("the first version is the hub, and the only one without conversions")
	}
}

func TestFieldsAreDeclared(t *testing.T) {
	for _, k := range BuiltIn() {
		if (k.Fields == nil) != (len(k.FieldNames) == 0) {
			t.Errorf("%s: Fields and FieldNames disagree", k.Kind)
		}
		if k.Fields == nil {
			continue
		}
		var got []string
		for name := range k.Fields(k.Hub().New()) {
			got = append(got, name)
		}
		want := slices.Clone(k.FieldNames)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: Fields has %v, FieldNames %v", k.Kind, got, want)
		}
	}
}

// Columns must show an empty object without a panic, and values of the declared type.
func TestColumnsOfEmptyObjects(t *testing.T) {
	for _, k := range BuiltIn() {
		for _, defaulted := range []bool{false, true} {
			obj := k.Hub().New()
			if defaulted && k.Default != nil {
				k.Default(obj)
			}
			seen := map[string]bool{}
			if len(k.Columns) == 0 && !k.Virtual {
				t.Errorf("%s has no columns", k.Kind)
			}
			for _, c := range k.Columns {
				if seen[c.Name] || c.Description == "" {
					t.Errorf("%s: column %q is there twice, or not described", k.Kind, c.Name)
				}
				seen[c.Name] = true
				v := c.Cell(obj, time.Unix(0, 0))
				switch c.Type {
				case "integer":
					if _, ok := v.(int64); !ok {
						t.Errorf("%s: column %s is a %T", k.Kind, c.Name, v)
					}
				case "string", "boolean", "date":
				default:
					t.Errorf("%s: column %s has type %s", k.Kind, c.Name, c.Type)
				}
			}
		}
	}
}

// A subresource's Inject changes neither of its arguments, and a status update leaves the spec alone.
func TestStatusLeavesSpecAlone(t *testing.T) {
	for _, k := range BuiltIn() {
		for _, seed := range []int64{1, 2, 3} {
			stored, sent := fuzzed(k, seed), fuzzed(k, seed+100)
			if k.Default != nil {
				k.Default(stored) // as all that is stored
			}
			for _, s := range k.Subresources {
				if s.Inject == nil || s.New != nil {
					continue
				}
				before, asked := stored.DeepCopyObject(), sent.DeepCopyObject()
				got, err := s.Inject(stored, sent)
				if err != nil {
					t.Errorf("%s/%s: %v", k.Plural, s.Name, err)
					continue
				}
				if !reflect.DeepEqual(before, stored) || !reflect.DeepEqual(asked, sent) {
					t.Errorf("%s/%s: Inject changed its arguments", k.Plural, s.Name)
				}
				if s.Name == "status" && !apiequality.Semantic.DeepEqual(part(got, "Spec"), part(stored, "Spec")) {
					t.Errorf("%s/status touched the spec", k.Plural)
				}
				if k.Kind == "Pod" && s.Name == "status" && !apiequality.Semantic.DeepEqual(got.GetOwnerReferences(), stored.GetOwnerReferences()) {
					t.Errorf("%s/status touched the owners", k.Plural)
				}
			}
		}
	}
}

// An update of the main resource leaves the status alone.
func TestUpdateLeavesStatusAlone(t *testing.T) {
	for _, k := range BuiltIn() {
		if k.Subresource("status") == nil {
			continue
		}
		old, obj := fuzzed(k, 1), fuzzed(k, 2)
		k.PrepareUpdate(obj, old)
		if k.Kind == "Service" {
			continue // a change of type empties it
		}
		if !apiequality.Semantic.DeepEqual(part(obj, "Status"), part(old, "Status")) {
			t.Errorf("%s: PrepareUpdate lets an update touch the status", k.Kind)
		}
	}
}

func part(o any, name string) any {
	f := reflect.ValueOf(o).Elem().FieldByName(name)
	if !f.IsValid() {
		return nil
	}
	return f.Interface()
}

func TestDefaultIsIdempotent(t *testing.T) {
	for _, k := range BuiltIn() {
		if k.Default == nil {
			continue
		}
		for seed := range int64(5) {
			obj := k.Hub().New()
			if seed > 0 {
				obj = fuzzed(k, seed)
			}
			k.Default(obj)
			once := obj.DeepCopyObject()
			k.Default(obj)
			if !reflect.DeepEqual(once, obj) {
				t.Errorf("%s: defaulting twice is not defaulting once (seed %d)", k.Kind, seed)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	js := json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{})
	pb := protobuf.NewSerializer(Scheme, Scheme)
	for _, k := range BuiltIn() {
		for _, v := range k.Versions {
			for name, codec := range map[string]runtime.Serializer{"json": js, "protobuf": pb} {
				obj := fuzzedVersion(v, k.Kind, 7)
				b, err := runtime.Encode(codec, obj)
				if err != nil {
					t.Errorf("%s %s: %v", k.Kind, name, err)
					continue
				}
				back, _, err := codec.Decode(b, nil, v.New())
				if err != nil {
					t.Errorf("%s %s: %v", k.Kind, name, err)
				} else if !apiequality.Semantic.DeepEqual(obj, back) {
					t.Errorf("%s: %s lost something", k.Kind, name)
				}
			}
		}
	}
}

// What goes through another version and back has lost nothing.
func TestConversionsRoundTrip(t *testing.T) {
	for _, k := range BuiltIn() {
		for _, v := range k.Versions[1:] {
			for seed := range int64(20) {
				obj := fuzzed(k, seed)
				if k.Default != nil {
					k.Default(obj)
				}
				there, err := v.FromHub(obj)
				if err != nil {
					t.Fatal(err)
				}
				if got := there.GetObjectKind().GroupVersionKind(); got != gvk(v.Group, v.Version, k.Kind) {
					t.Errorf("%s: FromHub says it is a %v", k.Kind, got)
				}
				back, err := v.ToHub(there)
				if err != nil {
					t.Fatal(err)
				}
				if !apiequality.Semantic.DeepEqual(obj, back) {
					t.Errorf("%s %s/%s: seed %d lost something", k.Kind, v.Group, v.Version, seed)
				}
			}
		}
	}
}
