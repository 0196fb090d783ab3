package admission

import (
	"strings"
	"testing"

	"codeberg.org/skiff/skiff/server/registry"
)

func TestWithout(t *testing.T) {
	table := []registry.Plugin{{Name: "Priority"}, {Name: servicePlugin}, {Name: "ServiceAccount"}}
	got, err := Without(table, []string{"ServiceAccount"})
	if err != nil || len(got) != 2 || got[0].Name != "Priority" || len(table) != 3 || table[2].Name != "ServiceAccount" {
		t.Errorf("got %v, %v; table %v", got, err, table)
	}
	for _, name := range []string{"Prioritee", servicePlugin, ""} {
		if _, err := Without(table, []string{name}); err == nil || !strings.Contains(err.Error(), "known are [Priority ServiceAccount]") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
