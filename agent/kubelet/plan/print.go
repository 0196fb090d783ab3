package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Key names the step: one task of a key runs at a time.
func (s Step) Key() string {
	switch s.Verb {
	case Pull, Start:
		return string(s.Verb) + " " + s.Container
	case PreStop, Kill:
		return string(s.Verb) + " " + s.ID
	}
	return string(s.Verb)
}

// String prints the step on one line.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Verb))
	if s.Container != "" {
		fmt.Fprintf(&b, " %s", s.Container)
	}
	switch s.Verb {
	case CreateSandbox:
		fmt.Fprintf(&b, " attempt=%d", s.Attempt)
	case Start:
		fmt.Fprintf(&b, " attempt=%d next-back-off=%s", s.Attempt, s.BackOff)
	case PreStop, Kill:
		fmt.Fprintf(&b, " id=%s until=%s (%s)", s.ID, s.Until.UTC().Format(time.RFC3339), s.Why)
	case StopSandbox, RemoveSandbox, Connect:
		fmt.Fprintf(&b, " id=%s", s.ID)
	}
	return b.String()
}

// String prints the plan, one line a step, then what waits and when to look again.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintln(&b, s)
	}
	names := make([]string, 0, len(p.Waiting))
	for n := range p.Waiting {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&b, "waiting %s: %s: %s\n", n, p.Waiting[n].Reason, p.Waiting[n].Message)
	}
	if p.Ended {
		b.WriteString("ended")
		if p.Verdict != nil {
			fmt.Fprintf(&b, ": %s: %s", p.Verdict.Reason, p.Verdict.Message)
		}
		b.WriteString("\n")
	}
	if !p.Wake.IsZero() {
		fmt.Fprintf(&b, "wake %s\n", p.Wake.UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}
