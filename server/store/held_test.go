package store

import (
	"testing"
	"time"
)

// A state that is held again is not held longer: a client that asks for one page for ever gets 410 in the end.
func TestHoldIsNotRenewed(t *testing.T) {
	var h heldSnapshots
	now := time.Now().Add(-holdTime + time.Second)
	h.keep(nil, &Snapshot{rev: 7}, now)
	h.keep(nil, &Snapshot{rev: 7}, now.Add(time.Second/2))
	if until := h.at[heldKey{nil, 7}].until; !until.Equal(now.Add(holdTime)) {
		t.Errorf("held until %v, not %v", until, now.Add(holdTime))
	}
	if h.find(nil, 7) == nil {
		t.Error("not held")
	}
	h.at[heldKey{nil, 7}] = held{&Snapshot{rev: 7}, time.Now().Add(-time.Second)}
	if h.find(nil, 7) != nil {
		t.Error("held too long")
	}
}
