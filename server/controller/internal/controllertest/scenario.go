package controllertest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"golang.org/x/tools/txtar"

	"codeberg.org/skiff/skiff/server/api"
)

var update = flag.Bool("update", false, "write what is found as what is wanted")

// ScenarioNow is when scenarios happen; objects were created an hour before, each a second after the one above it.
var ScenarioNow = metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

// Scenarios plays testdata/*.txtar: each *.yaml file holds objects (several, divided by "---"), which decide gets after
// defaulting, with their names as uids; the "plan" after it is what decide says. -update rewrites the plans.
func Scenarios(t *testing.T, decide func(t *testing.T, objects []api.Object) string) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Comment: a.Comment}
			for _, f := range a.Files {
				if strings.HasSuffix(f.Name, ".yaml") {
					got.Files = append(got.Files, f, txtar.File{Name: strings.TrimSuffix(f.Name, ".yaml") + ".plan", Data: []byte(decide(t, decode(t, catalogue, f)))})
				}
			}
			have, want := txtar.Format(got), txtar.Format(a)
			if *update {
				if err := os.WriteFile(name, have, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(have) != string(want) {
				t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", name, have)
			}
		})
	}
}

func decode(t *testing.T, catalogue *api.Catalogue, f txtar.File) (objects []api.Object) {
	t.Helper()
	for i, doc := range strings.Split("\n"+string(f.Data), "\n---") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		kind, _ := catalogue.ByKind(meta.GroupVersionKind())
		if kind == nil {
			t.Fatalf("%s: object %d is no kind of the catalogue: %+v", f.Name, i, meta)
		}
		obj := kind.Hub().New()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			t.Fatalf("%s: object %d: %v", f.Name, i, err)
		}
		if kind.Namespaced && obj.GetNamespace() == "" {
			obj.SetNamespace(Namespace)
		}
		if obj.GetUID() == "" {
			obj.SetUID(types.UID(obj.GetName()))
		}
		if created := obj.GetCreationTimestamp(); created.IsZero() {
			obj.SetCreationTimestamp(metav1.NewTime(ScenarioNow.Add(time.Duration(i)*time.Second - time.Hour)))
		}
		if kind.Default != nil {
			kind.Default(obj)
		}
		objects = append(objects, obj)
	}
	return objects
}
