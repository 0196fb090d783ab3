// Package features knows upstream's feature gates, so that --feature-gates is never ignored: a value that is true here
// anyway is accepted, one that upstream has locked or that skiff cannot honour is refused with the reason, and so is a name
// that Kubernetes does not have. Server and agent share it. It is pure.
//
// A feature that the flag shall decide has "either" in gates.txt and asks [Gates.Enabled].
package features

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

//go:embed gates.txt
var table string

// gate is one line of the table.
type gate struct {
	stage             string // Alpha, Beta, GA, Deprecated
	byDefault, locked bool
	here, either      bool
	reason            string // why it is not as by default
}

var gates = parse(table)

func parse(text string) map[string]gate {
	out := map[string]gate{}
	for line := range strings.Lines(text) {
		word := strings.Fields(line)
		if len(word) < 5 || word[0] == "#" {
			continue
		}
		out[word[0]] = gate{stage: word[1], byDefault: word[2] == "on", locked: word[3] == "locked",
			here: word[4] == "on", either: word[4] == "either", reason: strings.Join(word[5:], " ")}
	}
	return out
}

// Gates are those that a flag decides. The zero value has the defaults.
type Gates struct{ set map[string]bool }

// Enabled tells what is asked of a gate that may be either; what the table says of any other one.
func (g Gates) Enabled(name string) bool {
	if on, ok := g.set[name]; ok {
		return on
	}
	known, ok := gates[name]
	if !ok {
		panic("no feature gate " + name)
	}
	return known.here || known.either && known.byDefault
}

// New reads what a flag says, name by name: "true" or "false".
func New(flag map[string]string) (Gates, error) {
	g := Gates{set: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(flag)) {
		on, err := strconv.ParseBool(flag[name])
		if err != nil {
			return g, fmt.Errorf("--feature-gates: invalid value of %s=%s: expected true or false", name, flag[name])
		}
		if err := check(name, on); err != nil {
			return g, fmt.Errorf("--feature-gates: %w", err)
		}
		g.set[name] = on
	}
	return g, nil
}

func check(name string, on bool) error {
	if name == "AllAlpha" || name == "AllBeta" {
		return checkAll(name, on)
	}
	known, ok := gates[name]
	switch {
	case !ok:
		return fmt.Errorf("unrecognized feature gate: %s", name)
	case known.either || known.here == on:
		return nil
	case known.locked:
		return fmt.Errorf("cannot set feature gate %s to %v, feature is locked to %v", name, on, known.here)
	case known.reason != "":
		return fmt.Errorf("cannot set feature gate %s to %v: %s", name, on, known.reason)
	case on:
		return fmt.Errorf("cannot set feature gate %s to true: this %s feature is not there", name, strings.ToLower(known.stage))
	}
	return fmt.Errorf("cannot set feature gate %s to false: this feature is always on", name)
}

// checkAll: only what changes nothing is possible for all features of a stage.
func checkAll(name string, on bool) error {
	if name == "AllAlpha" && !on {
		return nil
	}
	return fmt.Errorf("cannot set feature gate %s to %v: features are named one by one", name, on)
}
