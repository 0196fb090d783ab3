package iptables

import (
	"bufio"
	"bytes"
	"slices"
	"strings"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// state is which chains with our prefix, and which jumps to them from other chains, iptables-save told of.
type state struct {
	tables map[Table]bool
	chains map[Table][]string
	// jumps are whole rules without "-A ", ready for "-D ".
	jumps map[Table][]string
	// after is how many rules of a built-in chain stand before ours, up to the last jump of a writer that comes before us.
	after map[Chain]int
}

// parseSave reads what iptables-save prints.
func parseSave(text []byte, prefix string) state {
	s := state{tables: map[Table]bool{}, chains: map[Table][]string{}, jumps: map[Table][]string{}, after: map[Chain]int{}}
	var table Table
	others := map[Chain]int{}
	earlier := before(prefix)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			table = Table(line[1:])
			s.tables[table] = true
		case strings.HasPrefix(line, ":"+prefix):
			name, _, _ := strings.Cut(line[1:], " ")
			s.chains[table] = append(s.chains[table], name)
		case !strings.HasPrefix(line, "-A ") || ours(line[3:]):
		case targets(line, prefix):
			s.jumps[table] = append(s.jumps[table], line[3:])
		default:
			name, _, _ := strings.Cut(line[3:], " ")
			chain := Chain{table, name}
			others[chain]++
			if slices.ContainsFunc(earlier, func(p string) bool { return targets(line, p) }) {
				s.after[chain] = others[chain]
			}
		}
	}
	return s
}

// targets says whether a rule's target is a chain with the prefix.
func targets(rule, prefix string) bool {
	return strings.Contains(rule, " -j "+prefix) || strings.Contains(rule, " -g "+prefix)
}

// before are the prefixes of the writers whose jumps come before those of prefix.
func before(prefix string) []string {
	return Order[:max(0, slices.Index(Order, prefix))]
}

// ours says whether a chain, or a rule's chain, is one of any writer.
func ours(name string) bool { return strings.HasPrefix(name, wellknown.ChainPrefix) }
