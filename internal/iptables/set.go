package iptables

import (
	"sort"
	"strconv"
	"strings"
)

// Table of the kernel.
type Table string

// The tables skiff writes to.
const (
	NAT    Table = "nat"
	Filter Table = "filter"
)

// Marks on packets, shared by everyone who writes rules; the two bits of MarkMask are skiff's. They are the bits that
// Kubernetes uses, so that other software keeps away from them.
const (
	MarkMask = "0xc000"
	// MarkMasquerade asks for the node's address as the source, on the way out.
	MarkMasquerade = "0x4000/" + MarkMask
	// MarkReject asks the filter table to refuse the packet, MarkDrop to swallow it.
	MarkReject = "0x8000/" + MarkMask
	MarkDrop   = "0xc000/" + MarkMask
	// MarkRefused matches both of them.
	MarkRefused = "0x8000/0x8000"
)

// MaxChainName is the longest name of a chain that the kernel takes.
const MaxChainName = 28

// Chain names a chain of a table.
type Chain struct {
	Table Table
	Name  string
}

// Jump is a rule in a chain that is not ours (a built-in one), which leads to one of ours. It is kept first in that chain,
// after those of the writers that come before in Order.
type Jump struct {
	Table Table
	From  string
	// Match is the rule without its target; "" for every packet.
	Match string
	To    string
}

// Set is what a writer's part of the kernel shall be. Rules are iptables-restore lines without "-A chain". The slices
// are immutable: a changed chain gets a new slice.
type Set struct {
	Chains map[Chain][]string
	Jumps  []Jump
}

// Text is the whole set as iptables-restore would take it, in a fixed order: for tests and people.
func (s Set) Text() string {
	var b strings.Builder
	for _, table := range s.tables() {
		writeTable(&b, tablePlan{table: table, changed: s.names(table), chains: s.Chains, jumps: s.jumps(table)})
	}
	return b.String()
}

func (s Set) tables() []Table {
	seen := map[Table]bool{}
	for c := range s.Chains {
		seen[c.Table] = true
	}
	return sortedTables(seen)
}

func (s Set) names(t Table) []string {
	var names []string
	for c := range s.Chains {
		if c.Table == t {
			names = append(names, c.Name)
		}
	}
	sort.Strings(names)
	return names
}

func (s Set) jumps(t Table) []Jump {
	var out []Jump
	for _, j := range s.Jumps {
		if j.Table == t {
			out = append(out, j)
		}
	}
	return out
}

func sortedTables(seen map[Table]bool) []Table {
	tables := make([]Table, 0, len(seen))
	for t := range seen {
		tables = append(tables, t)
	}
	sort.Slice(tables, func(i, j int) bool { return tables[i] < tables[j] })
	return tables
}

// rule is the jump as a rule, without "-A chain".
func (j Jump) rule() string {
	if j.Match == "" {
		return "-j " + j.To
	}
	return j.Match + " -j " + j.To
}

// writeTable writes one table's transaction: declares (and thereby empties) the changed and the removed chains, fills the
// changed ones, drops stale jumps, inserts the wanted ones, and deletes the removed chains.
func writeTable(b *strings.Builder, p tablePlan) {
	b.WriteString("*" + string(p.table) + "\n")
	for _, names := range [][]string{p.changed, p.removed} {
		for _, name := range names {
			b.WriteString(":" + name + " - [0:0]\n")
		}
	}
	for _, name := range p.changed {
		for _, rule := range p.chains[Chain{p.table, name}] {
			b.WriteString("-A " + name + " " + rule + "\n")
		}
	}
	for _, line := range p.stale {
		b.WriteString("-D " + line + "\n")
	}
	for i := len(p.jumps) - 1; i >= 0; i-- {
		j := p.jumps[i]
		b.WriteString("-I " + j.From + " " + strconv.Itoa(1+p.after[Chain{p.table, j.From}]) + " " + j.rule() + "\n")
	}
	for _, name := range p.removed {
		b.WriteString("-X " + name + "\n")
	}
	b.WriteString("COMMIT\n")
}
