package iptables

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os/exec"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"codeberg.org/skiff/skiff/internal/netnstest"
)

const prefix = "SKIFF-T-"

// kernel plays iptables: it keeps chains and rules, and can fail.
type kernel struct {
	chains   map[Chain][]string
	fail     bool
	restores int
}

func (k *kernel) run(_ context.Context, input, name string, args ...string) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, "-save"):
		return []byte(k.save()), nil
	case strings.HasSuffix(name, "-restore"):
		k.restores++
		if k.fail {
			return nil, errors.New("resource busy")
		}
		return nil, k.restore(input)
	}
	if name != "iptables-legacy" {
		return nil, errors.New("no such file")
	}
	if args[0] == "-V" {
		return []byte("iptables v1.8 (legacy)"), nil
	}
	c := Chain{Table(args[3]), args[5]}
	var b strings.Builder
	for _, r := range k.chains[c] {
		b.WriteString("-A " + c.Name + " " + r + "\n")
	}
	return []byte(b.String()), nil
}

func (k *kernel) save() string {
	var b strings.Builder
	for _, t := range []Table{NAT, Filter} {
		var names []string
		for c := range k.chains {
			if c.Table == t {
				names = append(names, c.Name)
			}
		}
		sort.Strings(names)
		b.WriteString("# a comment\n*" + string(t) + "\n")
		for _, n := range names {
			b.WriteString(":" + n + " - [0:0]\n")
		}
		for _, n := range names {
			for _, r := range k.chains[Chain{t, n}] {
				b.WriteString("-A " + n + " " + r + "\n")
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func (k *kernel) restore(input string) error {
	var t Table
	for _, line := range strings.Split(input, "\n") {
		f := strings.SplitN(line, " ", 3)
		switch {
		case strings.HasPrefix(line, "*"):
			t = Table(line[1:])
		case strings.HasPrefix(line, ":"):
			k.chains[Chain{t, f[0][1:]}] = nil
		case f[0] == "-A":
			k.chains[Chain{t, f[1]}] = append(k.chains[Chain{t, f[1]}], f[2])
		case f[0] == "-I":
			c := Chain{t, f[1]}
			position, rule, _ := strings.Cut(f[2], " ")
			at, err := strconv.Atoi(position)
			if err != nil || at < 1 || at > len(k.chains[c])+1 {
				return fmt.Errorf("bad position: %s", line)
			}
			k.chains[c] = slices.Insert(slices.Clone(k.chains[c]), at-1, rule)
		case f[0] == "-D":
			c := Chain{t, f[1]}
			i := 0
			for ; i < len(k.chains[c]) && k.chains[c][i] != f[2]; i++ {
			}
			if i == len(k.chains[c]) {
				return fmt.Errorf("bad rule: %s", line)
			}
			k.chains[c] = append(append([]string(nil), k.chains[c][:i]...), k.chains[c][i+1:]...)
		case f[0] == "-X":
			for c, rules := range k.chains {
				for _, r := range rules {
					if c.Table == t && strings.HasSuffix(r, "-j "+f[1]) {
						return fmt.Errorf("%s is still used by %s", f[1], c.Name)
					}
				}
			}
			delete(k.chains, Chain{t, f[1]})
		}
	}
	return nil
}

func randomSet(r *rand.Rand) Set {
	s := Set{Chains: map[Chain][]string{{NAT, prefix + "ROOT"}: nil, {Filter, prefix + "F"}: {"-j ACCEPT"}},
		Jumps: []Jump{{NAT, "PREROUTING", "", prefix + "ROOT"}, {NAT, "OUTPUT", "-p tcp", prefix + "ROOT"}, {Filter, "FORWARD", "", prefix + "F"}}}
	for i := range 6 {
		if r.Intn(2) == 0 {
			name := fmt.Sprint(prefix, i)
			s.Chains[Chain{NAT, name}] = []string{fmt.Sprint("-d 10.0.0.", r.Intn(3), " -j ACCEPT")}
			s.Chains[Chain{NAT, prefix + "ROOT"}] = append(s.Chains[Chain{NAT, prefix + "ROOT"}], "-j "+name)
		}
	}
	return s
}

// TestTheKernelEndsAsWanted plays changes, failures, restarts and foreign meddling.
func TestTheKernelEndsAsWanted(t *testing.T) {
	ctx := context.Background()
	for seed := range int64(50) {
		r := rand.New(rand.NewSource(seed))
		k := &kernel{chains: map[Chain][]string{{NAT, "PREROUTING"}: {"-j FOREIGN"}, {NAT, "FOREIGN"}: {"-j RETURN"}, {NAT, "OUTPUT"}: nil, {Filter, "FORWARD"}: {"-j DROP"}}}
		w := NewWriter(Host{Run: k.run}, prefix)
		for range 40 {
			want := randomSet(r)
			switch r.Intn(6) {
			case 0: // a failure, then a retry
				k.fail = true
				if plan, err := w.Apply(ctx, want); err == nil && !plan.Empty() {
					t.Fatal("a failure was not told")
				}
				k.fail = false
			case 1: // a restart
				w = NewWriter(Host{Run: k.run}, prefix)
			case 2: // somebody flushes
				k.chains[Chain{NAT, "PREROUTING"}] = []string{"-j FOREIGN"}
				written := w.have != nil
				if restored, err := w.restore(ctx, nil); restored != written || err != nil {
					t.Fatalf("seed %d: flushed, but restore says %v %v", seed, restored, err)
				}
			}
			if _, err := w.Apply(ctx, want); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			expected := &kernel{chains: map[Chain][]string{{NAT, "PREROUTING"}: {"-j " + prefix + "ROOT", "-j FOREIGN"}, {NAT, "FOREIGN"}: {"-j RETURN"},
				{NAT, "OUTPUT"}: {"-p tcp -j " + prefix + "ROOT"}, {Filter, "FORWARD"}: {"-j " + prefix + "F", "-j DROP"}}}
			for c, rules := range want.Chains {
				expected.chains[c] = rules
			}
			if k.save() != expected.save() {
				t.Fatalf("seed %d: the kernel has\n%s\nwant\n%s", seed, k.save(), expected.save())
			}
			before := k.restores
			if plan, err := w.Apply(ctx, want); err != nil || !plan.Empty() || k.restores != before {
				t.Fatalf("seed %d: a second Apply did\n%s %v", seed, plan, err)
			}
			if restored, err := w.restore(ctx, nil); restored || err != nil {
				t.Fatalf("seed %d: restore says %v %v", seed, restored, err)
			}
		}
		if err := w.CleanUp(ctx); err != nil || strings.Contains(k.save(), "SKIFF") {
			t.Fatalf("CleanUp: %v\n%s", err, k.save())
		}
	}
}

func TestMissing(t *testing.T) {
	w := NewWriter(Host{Run: func(context.Context, string, string, ...string) ([]byte, error) {
		return nil, exec.ErrNotFound
	}}, prefix)
	_, err := w.Apply(context.Background(), Set{Chains: map[Chain][]string{{NAT, prefix + "A"}: nil}})
	if err == nil || !strings.Contains(err.Error(), "install the iptables package") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"OTHER", prefix + strings.Repeat("x", 30)} {
		if _, err := w.Apply(context.Background(), Set{Chains: map[Chain][]string{{NAT, name}: nil}}); err == nil {
			t.Errorf("chain %q was taken", name)
		}
	}
}

// TestRealBackends does the same steps with each backend of this machine.
func TestRealBackends(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	ctx := context.Background()
	for _, variant := range []string{"iptables-nft", "iptables-legacy", "ip6tables"} {
		if _, err := exec.LookPath(variant); err != nil {
			t.Log(err)
			continue
		}
		host := Host{variant: variant}
		w := NewWriter(host, prefix)
		r := rand.New(rand.NewSource(1))
		for i := range 10 {
			want := randomSet(r)
			for c, rules := range want.Chains {
				for j := range rules {
					if variant == "ip6tables" {
						rules[j] = strings.ReplaceAll(rules[j], "-d 10.0.0.", "-d fd00::")
					}
				}
				want.Chains[c] = rules
			}
			if i == 5 {
				w = NewWriter(host, prefix)
			}
			if _, err := w.Apply(ctx, want); err != nil {
				t.Fatalf("%s: %v", variant, err)
			}
			if restored, err := w.restore(ctx, nil); restored || err != nil {
				t.Fatalf("%s: restore: %v %v", variant, restored, err)
			}
			text, err := host.save(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if found := parseSave(text, prefix); len(found.chains[NAT])+len(found.chains[Filter]) != len(want.Chains) || len(found.jumps[NAT]) != 2 {
				t.Fatalf("%s: the kernel has\n%s", variant, text)
			}
		}
		if err := w.CleanUp(ctx); err != nil {
			t.Fatal(err)
		}
		if text, _ := host.save(ctx); strings.Contains(string(text), "SKIFF") {
			t.Errorf("%s: CleanUp left\n%s", variant, text)
		}
	}
}

func FuzzParseSave(f *testing.F) {
	f.Add([]byte("*nat\n:SKIFF-T-A - [0:0]\n-A PREROUTING -j SKIFF-T-A\nCOMMIT\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, names := range parseSave(text, prefix).chains {
			for _, name := range names {
				if !strings.HasPrefix(name, prefix) {
					t.Errorf("%q is not ours", name)
				}
			}
		}
	})
}
