package memory

import (
	"runtime"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		what        string
		before, now heap
		since       time.Duration // the last collection, and how much was allocated then
		last        uint64
		want        bool
	}{
		{"quiet, with room to give back", heap{allocated: 100 * mib}, heap{100 * mib, 20 * mib, 50 * mib}, time.Hour, 95 * mib, true},
		{"busy", heap{allocated: 90 * mib}, heap{100 * mib, 20 * mib, 50 * mib}, time.Hour, 0, false},
		{"a moment after the last", heap{allocated: 100 * mib}, heap{100 * mib, 20 * mib, 50 * mib}, time.Second, 95 * mib, false},
		{"a moment after the last, but much was done", heap{allocated: 100 * mib}, heap{100 * mib, 20 * mib, 50 * mib}, time.Second, 70 * mib, true},
		{"little to give back", heap{allocated: 100 * mib}, heap{100 * mib, 20 * mib, 23 * mib}, time.Hour, 0, false},
		{"little beside what is alive", heap{allocated: 100 * mib}, heap{100 * mib, 400 * mib, 440 * mib}, time.Hour, 0, false},
	} {
		at := time.Now()
		if got := due(c.before, c.now, trim{at.Add(-c.since), c.last}, at); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

var sink []byte

func TestRead(t *testing.T) {
	before := read()
	sink = make([]byte, 8<<20)
	runtime.GC()
	now := read()
	if now.allocated < before.allocated+8<<20 || now.live < 8<<20 || now.held < now.live {
		t.Errorf("before %+v, after 8 MiB %+v", before, now)
	}
	sink = nil
}
