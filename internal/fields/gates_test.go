package fields

import (
	"testing"

	"codeberg.org/skiff/skiff/internal/features"
)

// TestDroppedGatesAreOff: a field is dropped only while its gate cannot be on.
func TestDroppedGatesAreOff(t *testing.T) {
	for _, r := range Rows() {
		if r.Verdict != Dropped {
			continue
		}
		if _, err := features.New(map[string]string{r.Note: "true"}); err == nil {
			t.Errorf("table.txt:%d: %s can be on, so %s.%s must be honoured then", r.Line, r.Note, r.Type, r.Field)
		}
	}
}
