package admission

import (
	"fmt"
	"slices"
)

// choose returns the lines of the table that run. A name that is not one of upstream's plugins, and one whose plugin is
// not there, is an error, so that nobody believes to be protected by what does not run.
func choose(table []entry, enabled, disabled []string) (chosen []entry, err error) {
	for _, name := range enabled {
		if err := nameable(table, "enable", name); err != nil {
			return nil, err
		}
		if reason, ok := absent[name]; ok {
			return nil, fmt.Errorf("--enable-admission-plugins: %s: %s", name, reason)
		}
		if slices.Contains(disabled, name) {
			return nil, fmt.Errorf("--enable-admission-plugins and --disable-admission-plugins both name %s", name)
		}
	}
	for _, name := range disabled {
		if err := nameable(table, "disable", name); err != nil {
			return nil, err
		}
	}
	for _, e := range table {
		if e.mode == own || slices.Contains(enabled, e.name) || e.mode == on && !slices.Contains(disabled, e.name) {
			chosen = append(chosen, e)
		}
	}
	return chosen, nil
}

// nameable is an error for what is no plugin of upstream's.
func nameable(table []entry, verb, name string) error {
	if _, ok := absent[name]; ok {
		return nil
	}
	for _, e := range table {
		if e.name != name {
			continue
		}
		if e.mode != own {
			return nil
		}
		return fmt.Errorf("--%s-admission-plugins: %s belongs to the API server itself and always runs", verb, name)
	}
	return fmt.Errorf("--%s-admission-plugins: admission plugin %q is unknown; known are %v", verb, name, namesOf(table))
}

func namesOf(table []entry) (names []string) {
	for _, e := range table {
		if e.mode != own {
			names = append(names, e.name)
		}
	}
	for name := range absent {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
