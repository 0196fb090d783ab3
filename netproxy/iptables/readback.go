package iptables

import (
	"bufio"
	"bytes"
	"strings"
)

// state is which chains with our prefix, and which jumps to them from other chains, iptables-save told of.
type state struct {
	tables map[Table]bool
	chains map[Table][]string
	// jumps are whole rules without "-A ", ready for "-D ".
	jumps map[Table][]string
}

// parseSave reads what iptables-save prints.
func parseSave(text []byte, prefix string) state {
	s := state{tables: map[Table]bool{}, chains: map[Table][]string{}, jumps: map[Table][]string{}}
	var table Table
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
		case strings.HasPrefix(line, "-A ") && !strings.HasPrefix(line[3:], prefix) && targets(line, prefix):
			s.jumps[table] = append(s.jumps[table], line[3:])
		}
	}
	return s
}

// targets says whether a rule's target is a chain with the prefix.
func targets(rule, prefix string) bool {
	return strings.Contains(rule, " -j "+prefix) || strings.Contains(rule, " -g "+prefix)
}
