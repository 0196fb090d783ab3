package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Writer owns the chains with a prefix in one address family.
type Writer struct {
	host   Host
	prefix string
	// wrote, when set, is called after the kernel's rules were changed by us.
	wrote func()
	// legacy says that the tables are those of the legacy backend, which tells nobody of changes.
	legacy atomic.Bool

	mu sync.Mutex
	// have is what was last written as a whole; sure says that the kernel still holds it.
	have  map[Chain][]string
	jumps []Jump
	sure  bool
}

// NewWriter makes the writer of all chains whose names begin with prefix. Nobody puts back what others remove: see Owner.
func NewWriter(host Host, prefix string) *Writer {
	return &Writer{host: host, prefix: prefix, wrote: func() {}}
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
	return plan, w.write(ctx, plan, want.Jumps)
}

func (w *Writer) write(ctx context.Context, plan Plan, jumps []Jump) error {
	wasSure := w.sure
	w.sure = false
	if err := w.host.restore(ctx, plan.String()); err != nil {
		return fmt.Errorf("write %d iptables chains of %s*: %w", plan.Chains(), w.prefix, err)
	}
	if w.have == nil || !wasSure {
		w.have = make(map[Chain][]string, plan.Chains()) // the plan has all of it
	}
	plan.note(w.have)
	w.jumps, w.sure = append([]Jump(nil), jumps...), true
	w.legacy.Store(w.host.legacy)
	w.wrote()
	return nil
}

func (w *Writer) plan(ctx context.Context, want Set) (Plan, error) {
	if w.sure && sameJumps(w.jumps, want.Jumps) {
		return decide(want, w.have), nil
	}
	w.sure = false
	text, err := w.host.save(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("read back the iptables chains of %s*: %w", w.prefix, err)
	}
	return decideAll(want, parseSave(text, w.prefix)), nil
}

// restore writes everything again if the jumps, or the chains that were touched, are not as they were written. It reads only these chains.
func (w *Writer) restore(ctx context.Context, touched []touch) (restored bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.have == nil || w.sure && w.intact(ctx, touched) {
		return false, nil
	}
	w.sure = false
	want := Set{Chains: w.have, Jumps: w.jumps}
	plan, err := w.plan(ctx, want)
	if err != nil || plan.Empty() {
		return false, err
	}
	err = w.write(ctx, plan, want.Jumps)
	return err == nil, err
}

// intact looks whether every jump is there, once, and whether touched chains of ours have as many rules as they should.
func (w *Writer) intact(ctx context.Context, touched []touch) bool {
	lists := map[Chain]string{}
	list := func(c Chain) string {
		if _, known := lists[c]; !known {
			text, err := w.host.list(ctx, c.Table, c.Name)
			if err != nil {
				text = nil // the chain is gone, and its table perhaps
			}
			lists[c] = string(text) + "\n"
		}
		return lists[c]
	}
	for _, j := range w.jumps {
		if strings.Count(list(Chain{j.Table, j.From}), "-j "+j.To+"\n") != 1 {
			return false
		}
	}
	for _, t := range touched {
		if rules, is := w.have[t.chain]; is && strings.Count("\n"+list(t.chain), "\n-A ") != len(rules) {
			return false
		}
	}
	return true
}

// concerns tells whether what was touched may be of this writer.
func (w *Writer) concerns(t touch) bool {
	if t.family != 0 && t.family != w.host.Family {
		return false
	}
	if t.chain.Name == "" || strings.HasPrefix(t.chain.Name, w.prefix) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.jumps, func(j Jump) bool { return Chain{j.Table, j.From} == t.chain })
}

// unsure tells whether a write failed, so that the kernel may hold anything.
func (w *Writer) unsure() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have != nil && !w.sure
}

// CleanUp removes everything with the writer's prefix from the kernel, whoever put it there.
func (w *Writer) CleanUp(ctx context.Context) error {
	w.mu.Lock()
	w.have, w.sure = nil, false
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
