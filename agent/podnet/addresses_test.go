package podnet

import (
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func pools(t *testing.T, dir string, cidrs ...string) *addresses {
	t.Helper()
	a, err := openAddresses(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.setPools(prefixes(cidrs...)); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAddressesGoAroundAndEnd(t *testing.T) {
	a := pools(t, t.TempDir(), "10.42.0.0/29")
	var got []string
	for i := range 5 {
		addrs, err := a.claim(fmt.Sprint("pod", i))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, addrs[0].String())
	}
	if want := "10.42.0.2 10.42.0.3 10.42.0.4 10.42.0.5 10.42.0.6"; strings.Join(got, " ") != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	if _, err := a.claim("one-more"); err == nil || !strings.Contains(err.Error(), "no free pod address") {
		t.Fatalf("a full CIDR: %v", err)
	}
	if again, err := a.claim("pod3"); err != nil || again[0].String() != "10.42.0.5" {
		t.Fatalf("the same id again: %v %v", again, err)
	}
	a.release("pod1")
	a.release("pod0")
	a.claim("x")
	a.release("x") // was given .2
	if addrs, _ := a.claim("y"); addrs[0].String() != "10.42.0.3" {
		t.Fatalf("a freed address is used again late: got %v, want 10.42.0.3", addrs)
	}
}

func TestAddressesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	a := pools(t, dir, "10.42.0.0/24", "fd42::/64")
	first, _ := a.claim("a")
	a.claim("b")
	if err := os.WriteFile(filepath.Join(dir, "10.42.0.9"), nil, 0o644); err != nil { // a crash between create and write
		t.Fatal(err)
	}
	b := pools(t, dir, "10.42.0.0/24", "fd42::/64")
	again, err := b.claim("a")
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) || len(first) != 2 {
		t.Fatalf("after a restart: %v %v, want %v", again, err, first)
	}
	freed, err := b.reconcile(map[string]bool{"a": true})
	if err != nil || len(freed) != 3 {
		t.Fatalf("reconcile freed %v, %v; want b's two and the empty one", freed, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Fatalf("%d files are left, want 2", len(files))
	}
}

// TestAddressesAreNeverShared plays random claims, releases, restarts and reconciles against a simple model.
func TestAddressesAreNeverShared(t *testing.T) {
	for seed := range int64(20) {
		rnd := rand.New(rand.NewSource(seed))
		dir := t.TempDir()
		a := pools(t, dir, "10.42.0.0/28")
		held := map[string]string{}
		for step := range 400 {
			id := fmt.Sprint("pod", rnd.Intn(20))
			switch rnd.Intn(10) {
			case 0:
				a = pools(t, dir, "10.42.0.0/28")
			case 1:
				in := map[string]bool{}
				for id := range held {
					in[id] = true
				}
				if freed, err := a.reconcile(in); err != nil || len(freed) > 0 {
					t.Fatalf("seed %d step %d: reconcile with all in use freed %v %v", seed, step, freed, err)
				}
			case 2, 3, 4:
				a.release(id)
				delete(held, id)
			default:
				addrs, err := a.claim(id)
				if err != nil {
					if len(held) < 13 {
						t.Fatalf("seed %d step %d: %v with %d held", seed, step, err, len(held))
					}
					continue
				}
				if was, ok := held[id]; ok && was != addrs[0].String() {
					t.Fatalf("seed %d step %d: %s had %s, now %s", seed, step, id, was, addrs[0])
				}
				for other, addr := range held {
					if other != id && addr == addrs[0].String() {
						t.Fatalf("seed %d step %d: %s given to %s and %s", seed, step, addr, other, id)
					}
				}
				held[id] = addrs[0].String()
			}
		}
	}
}
