package store

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
)

// TestRoom: on a full disk objects are refused with an error that says so, and can be deleted, which makes room.
func TestRoom(t *testing.T) {
	s, k, stop := start(t, t.TempDir())
	defer stop()
	ctx := context.Background()
	created, err := s.Create(ctx, k, withRevision(pod(), ""))
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.MinFree = math.MaxInt64
	if _, err := s.Delete(ctx, k, created.GetNamespace(), created.GetName(), 0); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Create(ctx, k, withRevision(pod(), "")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("create: %v", err)
	}
}
