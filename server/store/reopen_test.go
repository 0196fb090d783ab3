package store

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// lockable opens nothing while it is locked, as when the plugin with the keys does not answer.
type lockable struct{ locked atomic.Bool }

func (*lockable) Covers(schema.GroupResource) bool { return true }
func (*lockable) Seal(_ schema.GroupResource, _ string, plain []byte) ([]byte, error) {
	return append([]byte("sealed:"), plain...), nil
}
func (l *lockable) Open(_ schema.GroupResource, _ string, stored []byte) ([]byte, error) {
	if l.locked.Load() {
		return nil, errors.New("the plugin does not answer")
	}
	return stored[len("sealed:"):], nil
}
func (*lockable) Stale(schema.GroupResource, []byte) bool { return false }
func (*lockable) Header([]byte) string                    { return "" }

func TestReopen(t *testing.T) {
	dir, lock, ctx := t.TempDir(), &lockable{}, context.Background()
	run := func() (*Store, *api.Kind, func()) {
		k := podKind()
		catalogue, err := api.NewCatalogue([]*api.Kind{k})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Dir: dir, Catalogue: catalogue, Transformer: lock, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		select {
		case <-s.Ready():
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(2 * time.Minute):
			t.Fatal("not ready")
		}
		return s, k, func() { cancel(); <-ended }
	}
	s, k, stop := run()
	fresh := pod()
	fresh.SetResourceVersion("")
	made, err := s.Create(ctx, k, fresh)
	if err != nil {
		t.Fatal(err)
	}
	stop()

	lock.locked.Store(true)
	s, k, stop = run()
	defer stop()
	get := func() api.Object { return s.Snapshot().Get(k, made.GetNamespace(), made.GetName()) }
	if n, err := s.Reopen(ctx); n != 0 || err != nil || get() != nil || s.Snapshot().UnreadableCount(k, "") != 1 {
		t.Errorf("locked: %d, %v, %v", n, err, get())
	}
	lock.locked.Store(false)
	if n, err := s.Reopen(ctx); n != 1 || err != nil || get() == nil || s.Snapshot().UnreadableCount(k, "") != 0 {
		t.Errorf("unlocked: %d, %v, %v, %d are hidden", n, err, get(), s.Snapshot().UnreadableCount(k, ""))
	}
	if n, err := s.Reopen(ctx); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}
