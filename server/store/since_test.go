package store_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

func TestSince(t *testing.T) {
	cfg := storetest.Config(t, storetest.ConfigMaps(), storetest.Pods())
	cfg.History = 4
	s, _ := storetest.Start(t, cfg)
	kind, ctx := cfg.Catalogue.Kinds()[0], context.Background()
	kinds := []*api.Kind{kind}
	start, _, ok := s.Since(math.MaxInt64, kinds)
	if !ok {
		t.Fatal("a kind that is cached is unknown")
	}
	obj, err := s.Create(ctx, kind, storetest.ConfigMap("a", "x", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(ctx, kind, "a", "x", 0); err != nil {
		t.Fatal(err)
	}
	snap, events, ok := s.Since(start.Revision(), kinds)
	if !ok || len(events) != 2 || events[0].Type != store.Added || events[0].Object != obj || events[1].Type != store.Deleted ||
		events[1].Old != obj || snap.Revision() != events[1].Revision {
		t.Errorf("%v %+v at %d", ok, events, snap.Revision())
	}
	for i := range 5 {
		if _, err := s.Create(ctx, kind, storetest.ConfigMap("a", fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if snap, _, ok := s.Since(start.Revision(), kinds); ok || snap.Count(kind, "a") != 5 {
		t.Errorf("history that is gone: %v, %d objects", ok, snap.Count(kind, "a"))
	}
	if _, _, ok := s.Since(math.MaxInt64, []*api.Kind{{}}); ok {
		t.Error("a kind that is not cached is known")
	}
}
