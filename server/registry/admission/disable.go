package admission

import (
	"fmt"
	"slices"

	"codeberg.org/skiff/skiff/server/registry"
)

// servicePlugin is no plugin of upstream's: there the Service's own storage allocates.
const servicePlugin = "ServiceAllocator"

// Without returns the table without the plugins of these names. A name that is not in the table is an error, so that a
// misspelt one is noticed. What allocates addresses belongs to Services themselves and stays.
func Without(table []registry.Plugin, names []string) ([]registry.Plugin, error) {
	for _, name := range names {
		known := func(p registry.Plugin) bool { return p.Name == name }
		if name == servicePlugin || !slices.ContainsFunc(table, known) {
			return nil, fmt.Errorf("admission plugin %q cannot be disabled: there is none of that name; known are %v", name, namesOf(table))
		}
		table = slices.DeleteFunc(slices.Clone(table), known)
	}
	return table, nil
}

func namesOf(table []registry.Plugin) (names []string) {
	for _, p := range table {
		if p.Name != servicePlugin {
			names = append(names, p.Name)
		}
	}
	return names
}
