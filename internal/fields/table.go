package fields

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed table.txt
var text string

// Verdict is what becomes of a field.
type Verdict string

// Verdicts; see the package's documentation.
const (
	Honoured Verdict = "honoured"
	Refused  Verdict = "refused"
	Harmless Verdict = "harmless"
	Dropped  Verdict = "dropped"
	Later    Verdict = "later"
)

// Row is what the table says of one field, or of all fields of a type (Field "*").
type Row struct {
	Type, Field string
	Verdict     Verdict
	// Where are folders of this repository (honoured, refused); Via the import path of a library they call.
	Where []string
	Via   string
	// When is the value of a later field that is meant; "" for any.
	When string
	// Note is the feature gate of a dropped field, the warning of a later one, else the reason.
	Note string
	Line int
}

// kindRow is a kind of which nothing acts on the objects.
type kindRow struct{ group, kind, note string }

type table struct {
	rows  []Row
	byKey map[string]Row // Type.field
	kinds []kindRow
}

// Rows of the table, in its order.
func Rows() []Row { return load().rows }

var load = sync.OnceValue(func() *table {
	t, err := parse(text)
	if err != nil {
		panic(err) // the table is part of the program, and a test parses it
	}
	return t
})

func parse(text string) (*table, error) {
	t := &table{byKey: map[string]Row{}}
	section := ""
	for n, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "//"):
		case strings.HasPrefix(line, "# "):
			section = strings.TrimPrefix(line, "# ")
		case section == "kinds":
			name, note, _ := strings.Cut(line, ": ")
			kind, group, _ := strings.Cut(name, ".")
			t.kinds = append(t.kinds, kindRow{group, kind, note})
		default:
			row, err := parseRow(section, line)
			if err != nil {
				return nil, fmt.Errorf("table.txt:%d: %w", n+1, err)
			}
			row.Line = n + 1
			t.rows = append(t.rows, row)
			t.byKey[row.Type+"."+row.Field] = row
		}
	}
	return t, nil
}

func parseRow(section, line string) (Row, error) {
	head, note, _ := strings.Cut(line, ": ")
	words := strings.Fields(head)
	if len(words) < 2 {
		return Row{}, fmt.Errorf("want a field and what becomes of it: %q", line)
	}
	r := Row{Type: section, Field: words[0], Verdict: Verdict(strings.TrimSuffix(words[1], ":")), Note: note}
	rest := words[2:]
	switch r.Verdict {
	case Honoured, Refused:
		for i, w := range rest {
			if w == "via" && i+1 < len(rest) {
				r.Via = rest[i+1]
				break
			}
			r.Where = append(r.Where, w)
		}
		if len(r.Where) == 0 || r.Verdict == Refused && note == "" {
			return r, fmt.Errorf("say where, and how it is refused: %q", line)
		}
	case Dropped:
		r.Note = strings.Join(rest, " ")
	case Later:
		if len(rest) == 1 {
			r.When = strings.TrimPrefix(rest[0], "=")
		}
	case Harmless:
	default:
		return r, fmt.Errorf("unknown verdict %q", words[1])
	}
	if r.Note == "" && r.Verdict != Honoured {
		return r, fmt.Errorf("say why: %q", line)
	}
	return r, nil
}
