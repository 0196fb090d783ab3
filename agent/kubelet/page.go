package kubelet

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// page is metrics in Prometheus' text format.
type page struct{ families map[string]*family }

type family struct {
	kind, help string
	rows       strings.Builder
}

const (
	gauge = "gauge"
	count = "counter"
)

func newPage() *page { return &page{families: map[string]*family{}} }

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels joins pairs of names and values.
func labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + `="` + escapeLabel.Replace(pairs[i+1]) + `"`)
	}
	return b.String()
}

// add a row. labels are as [labels] makes them.
func (p *page) add(name, kind, help string, value float64, labels string) {
	f := p.families[name]
	if f == nil {
		f = &family{kind: kind, help: help}
		p.families[name] = f
	}
	f.rows.WriteString(name)
	if labels != "" {
		f.rows.WriteString("{" + labels + "}")
	}
	f.rows.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// String is the page, sorted by name.
func (p *page) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.families)) {
		f := p.families[name]
		b.WriteString("# HELP " + name + " " + f.help + "\n# TYPE " + name + " " + f.kind + "\n" + f.rows.String())
	}
	return b.String()
}
