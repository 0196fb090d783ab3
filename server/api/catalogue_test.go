package api

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCatalogueIsWhatClientsKnow holds names, scopes, short names, categories, verbs and subresources to testdata/kinds.txt.
// That list is what a stock API server of this version serves in its stable groups; a difference that -update would write
// is a difference that clients see.
func TestCatalogueIsWhatClientsKnow(t *testing.T) {
	var lines []string
	for _, k := range BuiltIn() {
		for _, v := range k.Versions {
			lines = append(lines, describeKind(k, v))
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "")
	const file = "testdata/kinds.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		have := strings.Split(string(want), "\n")
		for _, line := range strings.Split(got, "\n") {
			if !slices.Contains(have, line) {
				t.Errorf("not in %s: %s", file, line)
			}
		}
		t.Errorf("the catalogue is not as %s has it", file)
	}
}

func describeKind(k *Kind, v Version) string {
	var b strings.Builder
	scope := "cluster"
	if k.Namespaced {
		scope = "namespaced"
	}
	fmt.Fprintf(&b, "%s %s %s %s", strings.TrimPrefix(v.Group+"/"+v.Version, "/"), k.Plural, k.Kind, scope)
	for _, l := range []struct {
		name string
		list []string
	}{{"short", k.ShortNames}, {"categories", k.Categories}, {"verbs", k.Verbs}, {"fields", k.FieldNames}} {
		if len(l.list) > 0 {
			fmt.Fprintf(&b, " %s=%s", l.name, strings.Join(l.list, ","))
		}
	}
	b.WriteString("\n")
	subs := slices.Clone(k.Subresources)
	slices.SortFunc(subs, func(a, b Subresource) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range subs {
		verbs := slices.Sorted(slices.Values(s.Verbs))
		fmt.Fprintf(&b, "  /%s %s", s.Name, strings.Join(verbs, ","))
		if s.GVK.Kind != "" {
			fmt.Fprintf(&b, " %s %s", strings.TrimPrefix(s.GVK.GroupVersion().String(), "/"), s.GVK.Kind)
		}
		b.WriteString("\n")
	}
	return b.String()
}
