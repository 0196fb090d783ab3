package store

import (
	"errors"
	"testing"

	"codeberg.org/skiff/skiff/server/api"
)

// TestRingIsBounded: in number, and in bytes; what it has it has without gaps.
func TestRingIsBounded(t *testing.T) {
	r := newRing(1000, 5)
	for rev := int64(6); rev < 5000; rev++ {
		size := 100
		if rev > 3000 {
			size = 1 << 20
		}
		r.add(&Event{Type: Added, Revision: rev, size: size})
		if len(r.events) > 1000 || r.bytes > ringBytes && len(r.events) > 1 {
			t.Fatalf("%d events with %d bytes", len(r.events), r.bytes)
		}
		if first := r.events[0].Revision; r.floor != first-1 || r.events[len(r.events)-1].Revision != rev {
			t.Fatalf("floor %d, from %d to %d", r.floor, first, r.events[len(r.events)-1].Revision)
		}
	}
	if len(r.events) != ringBytes>>20 {
		t.Errorf("%d large events", len(r.events))
	}
	r.add(&Event{Type: Added, Revision: 5000, size: 2 * ringBytes})
	if len(r.events) != 1 {
		t.Errorf("%d events with one that is larger than all may be", len(r.events))
	}
	r.trim(5000)
	if _, ok := r.after(4999); ok || r.bytes != 0 {
		t.Errorf("trimmed: %d bytes", r.bytes)
	}
}

// TestWatchersHoldFewBytes: one that does not read is cut by the size of what it did not read, too.
func TestWatchersHoldFewBytes(t *testing.T) {
	w := &Watch{opts: WatchOptions{Buffer: 1024}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	k := &api.Kind{}
	pushed := 0
	for ; pushed < 1024 && !w.ended; pushed++ {
		w.push(&Event{Type: Added, Kind: k, size: 1 << 20})
	}
	if pushed != 33 || !errors.Is(w.Err(), ErrSlow) || w.pending != nil {
		t.Errorf("cut after %d events of 1 MiB: %v", pushed, w.Err())
	}
}
