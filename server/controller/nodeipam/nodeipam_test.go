package nodeipam

import (
	"net/netip"
	"testing"
)

func TestRangesAreDisjointUntilTheyAreUsedUp(t *testing.T) {
	ranges := []Range{{netip.MustParsePrefix("10.42.0.0/16"), 24}, {netip.MustParsePrefix("fd00::/56"), 64}}
	taken := map[string]bool{}
	for i := range 256 {
		got, err := decide(ranges, taken)
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		for _, cidr := range got {
			if taken[cidr] {
				t.Fatalf("node %d got %s, which is taken", i, cidr)
			}
			taken[cidr] = true
		}
	}
	if !taken["10.42.0.0/24"] || !taken["10.42.255.0/24"] || !taken["fd00:0:0:ff::/64"] {
		t.Errorf("the first or the last range was never given")
	}
	if got, err := decide(ranges, taken); err == nil {
		t.Errorf("the 257th node got %v", got)
	}
}

func TestAFreedRangeIsGivenAgain(t *testing.T) {
	r := []Range{{netip.MustParsePrefix("10.42.0.0/22"), 24}}
	got, err := decide(r, map[string]bool{"10.42.0.0/24": true, "10.42.2.0/24": true})
	if err != nil || got[0] != "10.42.1.0/24" {
		t.Errorf("got %v, %v; want 10.42.1.0/24", got, err)
	}
}

func TestLengthsThatAreNoWholeBytes(t *testing.T) {
	r := []Range{{netip.MustParsePrefix("10.0.0.0/20"), 22}}
	taken := map[string]bool{}
	for _, want := range []string{"10.0.0.0/22", "10.0.4.0/22", "10.0.8.0/22", "10.0.12.0/22"} {
		got, err := decide(r, taken)
		if err != nil || got[0] != want {
			t.Fatalf("got %v, %v; want %s", got, err, want)
		}
		taken[want] = true
	}
}
