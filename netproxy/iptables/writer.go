package iptables

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// Writer owns the chains with a prefix in one address family.
type Writer struct {
	host   Host
	prefix string

	mu sync.Mutex
	// have is what the kernel holds; nil when that is not known.
	have  map[Chain][]string
	jumps []Jump
}

// NewWriter makes the writer of all chains whose names begin with prefix.
func NewWriter(host Host, prefix string) *Writer {
	return &Writer{host: host, prefix: prefix}
}

// Apply makes the kernel's rules those of want and returns what it did. After an error the next Apply writes everything.
func (w *Writer) Apply(ctx context.Context, want Set) (Plan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(want); err != nil {
		return Plan{}, err
	}
	plan, err := w.plan(ctx, want)
	if err != nil || plan.Empty() {
		return plan, err
	}
	have := w.have
	w.have = nil
	if err := w.host.restore(ctx, plan.String()); err != nil {
		return plan, fmt.Errorf("write %d iptables chains of %s*: %w", plan.Chains(), w.prefix, err)
	}
	if have == nil {
		have = make(map[Chain][]string, len(want.Chains))
	}
	plan.note(have)
	w.have, w.jumps = have, append([]Jump(nil), want.Jumps...)
	return plan, nil
}

func (w *Writer) plan(ctx context.Context, want Set) (Plan, error) {
	if w.have != nil && sameJumps(w.jumps, want.Jumps) {
		return decide(want, w.have), nil
	}
	w.have = nil
	text, err := w.host.save(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("read back the iptables chains of %s*: %w", w.prefix, err)
	}
	return decideAll(want, parseSave(text, w.prefix)), nil
}

// Verify looks whether the jumps are still there, each once; if not (somebody flushed the table), the next Apply
// writes everything again. It reads only the chains that are jumped from.
func (w *Writer) Verify(ctx context.Context) (intact bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.have == nil {
		return false, nil
	}
	lists := map[Chain]string{}
	for _, j := range w.jumps {
		from := Chain{j.Table, j.From}
		if _, ok := lists[from]; !ok {
			text, err := w.host.list(ctx, j.Table, j.From)
			if err != nil {
				w.have = nil
				return false, fmt.Errorf("look at chain %s of table %s: %w", j.From, j.Table, err)
			}
			lists[from] = string(text)
		}
		if strings.Count(lists[from]+"\n", "-j "+j.To+"\n") != 1 {
			w.have = nil
			return false, nil
		}
	}
	return true, nil
}

// CleanUp removes everything with the writer's prefix from the kernel, whoever put it there.
func (w *Writer) CleanUp(ctx context.Context) error {
	w.mu.Lock()
	w.have = nil
	w.mu.Unlock()
	_, err := w.Apply(ctx, Set{})
	return err
}

// check refuses a set that reaches beyond the writer's chains.
func (w *Writer) check(want Set) error {
	for c := range want.Chains {
		if !strings.HasPrefix(c.Name, w.prefix) || len(c.Name) > MaxChainName {
			return fmt.Errorf("chain %q must begin with %s and have at most %d letters", c.Name, w.prefix, MaxChainName)
		}
	}
	for _, j := range want.Jumps {
		if _, ok := want.Chains[Chain{j.Table, j.To}]; !ok {
			return fmt.Errorf("jump from %s leads to chain %q, which is not in the set", j.From, j.To)
		}
	}
	return nil
}

func sameJumps(a, b []Jump) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
