package api

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is found as what is wanted")

// TestScenarios reads testdata/*.txtar. Each holds what a user sends, and what becomes of it:
//
//	object.yaml, object2.yaml …  created: defaulted, prepared, validated
//	update.yaml   (with object.yaml) the update of it; status.yaml the update of its status, and so for each subresource
//	result        the errors, or the object as it would be stored
//	table         the columns of `kubectl get -o wide`, at one moment
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	c, err := NewCatalogue(BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Comment: a.Comment}
			s := scenario{t: t, catalogue: c}
			for _, file := range a.Files {
				if strings.HasSuffix(file.Name, ".yaml") {
					got.Files = append(got.Files, file, txtar.File{Name: "result", Data: []byte(s.step(file))})
				} else if file.Name == "table" {
					got.Files = append(got.Files, txtar.File{Name: "table", Data: []byte(s.table())})
				}
			}
			have, want := txtar.Format(got), txtar.Format(a)
			if *update {
				if err := os.WriteFile(f, have, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(have) != string(want) {
				t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", f, have)
			}
		})
	}
}

type scenario struct {
	t         *testing.T
	catalogue *Catalogue
	kind      *Kind
	stored    Object
}

// scenarioTime is when everything happens; scenarioNow is when tables are printed.
var (
	scenarioTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	scenarioNow  = scenarioTime.Add(90 * time.Minute)
)

func (s *scenario) step(f txtar.File) string {
	s.t.Helper()
	obj, kind := s.decode(f.Data)
	name := strings.TrimRight(strings.TrimSuffix(f.Name, ".yaml"), "0123456789")
	var errs field.ErrorList
	switch name {
	case "object":
		s.kind = kind
		obj.SetUID(types.UID("uid-1"))
		obj.SetCreationTimestamp(metav1.NewTime(scenarioTime))
		errs = s.create(obj)
	case "update":
		obj.SetUID(s.stored.GetUID())
		obj.SetCreationTimestamp(s.stored.GetCreationTimestamp())
		if kind.Default != nil {
			kind.Default(obj)
		}
		if kind.PrepareUpdate != nil {
			kind.PrepareUpdate(obj, s.stored)
		}
		if kind.ValidateUpdate != nil {
			errs = kind.ValidateUpdate(obj, s.stored)
		}
	default:
		sub := s.kind.Subresource(name)
		if sub == nil || sub.Inject == nil {
			s.t.Fatalf("%s has no subresource %s", s.kind.Kind, name)
		}
		got, err := sub.Inject(s.stored, obj)
		if err != nil {
			return err.Error() + "\n"
		}
		obj = got
		if sub.Validate != nil {
			errs = sub.Validate(obj, s.stored)
		}
	}
	if len(errs) > 0 {
		if s.stored == nil {
			s.stored = obj
		}
		var b strings.Builder
		for _, e := range errs {
			fmt.Fprintf(&b, "%v\n", e)
		}
		return b.String()
	}
	s.stored = obj
	b, err := yaml.Marshal(obj)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *scenario) create(obj Object) field.ErrorList {
	if s.kind.Default != nil {
		s.kind.Default(obj)
	}
	if s.kind.PrepareCreate != nil {
		s.kind.PrepareCreate(obj)
	}
	if s.kind.Validate != nil {
		return s.kind.Validate(obj)
	}
	return nil
}

func (s *scenario) decode(data []byte) (Object, *Kind) {
	s.t.Helper()
	var meta runtime.TypeMeta
	if err := yaml.Unmarshal(data, &meta); err != nil {
		s.t.Fatal(err)
	}
	kind, version := s.catalogue.ByKind(meta.GroupVersionKind())
	if kind == nil {
		s.t.Fatalf("no kind %v", meta.GroupVersionKind())
	}
	obj := version.New()
	if err := yaml.UnmarshalStrict(data, obj); err != nil {
		s.t.Fatal(err)
	}
	if version.ToHub != nil {
		var err error
		if obj, err = version.ToHub(obj); err != nil {
			s.t.Fatal(err)
		}
	}
	return obj, kind
}

func (s *scenario) table() string {
	var b strings.Builder
	for _, c := range s.kind.Columns {
		fmt.Fprintf(&b, "%s: %v\n", strings.ToUpper(c.Name), c.Cell(s.stored, scenarioNow))
	}
	return b.String()
}
