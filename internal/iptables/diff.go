package iptables

import (
	"slices"
	"sort"
	"strings"
)

// Plan is what Apply will do to the kernel. It prints as the text that iptables-restore --noflush gets.
type Plan struct {
	tables []tablePlan
}

type tablePlan struct {
	table            Table
	changed, removed []string
	jumps            []Jump
	stale            []string
	after            map[Chain]int
	chains           map[Chain][]string
}

// Empty says that nothing is to do.
func (p Plan) Empty() bool { return len(p.tables) == 0 }

// Chains is how many chains are written or removed.
func (p Plan) Chains() (n int) {
	for _, t := range p.tables {
		n += len(t.changed) + len(t.removed)
	}
	return n
}

// note brings have up to date with what the plan did.
func (p Plan) note(have map[Chain][]string) {
	for _, t := range p.tables {
		for _, name := range t.changed {
			have[Chain{t.table, name}] = t.chains[Chain{t.table, name}]
		}
		for _, name := range t.removed {
			delete(have, Chain{t.table, name})
		}
	}
}

func (p Plan) String() string {
	var b strings.Builder
	for _, t := range p.tables {
		writeTable(&b, t)
	}
	return b.String()
}

// decide compares the wanted set with the chains as last written.
func decide(want Set, have map[Chain][]string) Plan {
	parts := map[Table]*tablePlan{}
	part := func(t Table) *tablePlan {
		if parts[t] == nil {
			parts[t] = &tablePlan{table: t, chains: want.Chains}
		}
		return parts[t]
	}
	for c, rules := range want.Chains {
		if old, ok := have[c]; !ok || !same(old, rules) {
			p := part(c.Table)
			p.changed = append(p.changed, c.Name)
		}
	}
	for c := range have {
		if _, ok := want.Chains[c]; !ok {
			p := part(c.Table)
			p.removed = append(p.removed, c.Name)
		}
	}
	return finish(parts)
}

// decideAll is the plan when the rules in the kernel are unknown: only which chains of ours and which jumps to them are
// there was read back.
func decideAll(want Set, found state) Plan {
	parts := map[Table]*tablePlan{}
	for t := range found.tables {
		parts[t] = &tablePlan{table: t, chains: want.Chains, stale: found.jumps[t], after: found.after}
		for _, name := range found.chains[t] {
			if _, ok := want.Chains[Chain{t, name}]; !ok {
				parts[t].removed = append(parts[t].removed, name)
			}
		}
	}
	for _, t := range want.tables() {
		if parts[t] == nil {
			parts[t] = &tablePlan{table: t, chains: want.Chains}
		}
		parts[t].changed = want.names(t)
		parts[t].jumps = want.jumps(t)
	}
	return finish(parts)
}

func finish(parts map[Table]*tablePlan) Plan {
	seen := map[Table]bool{}
	for t, p := range parts {
		seen[t] = len(p.changed)+len(p.removed)+len(p.stale)+len(p.jumps) > 0
		if !seen[t] {
			delete(seen, t)
		}
	}
	var plan Plan
	for _, t := range sortedTables(seen) {
		sort.Strings(parts[t].changed)
		sort.Strings(parts[t].removed)
		plan.tables = append(plan.tables, *parts[t])
	}
	return plan
}

// same compares two rule lists; most of the time they are one and the same slice.
func same(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	return slices.Equal(a, b)
}
