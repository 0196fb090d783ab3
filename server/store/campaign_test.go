package store

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/server/api"
)

// TestStartsAgainWhileBusy opens data with some hundred entries again and again on a machine that has no time: raft must not be asked to stand for
// election while it is behind etcd.
func TestStartsAgainWhileBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	s, k, stop := start(t, dir)
	for i := range 200 {
		if _, err := s.Create(t.Context(), k, numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	busy, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 4 * runtime.GOMAXPROCS(0) {
		go func() {
			for busy.Err() == nil {
			}
		}()
	}
	for range 8 {
		began := time.Now()
		_, _, stop := start(t, dir)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("the start took %v", took)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(i int) api.Object {
	p := pod()
	p.Name, p.ResourceVersion = fmt.Sprintf("p-%d", i), ""
	return p
}
