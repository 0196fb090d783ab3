package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"codeberg.org/skiff/skiff/server/api"
)

func start(t testing.TB, dir string) (*Store, *api.Kind, func() error) {
	return startLogging(t, dir, slog.New(slog.DiscardHandler))
}

func startLogging(t testing.TB, dir string, log *slog.Logger) (*Store, *api.Kind, func() error) {
	t.Helper()
	k := podKind()
	catalogue, err := api.NewCatalogue([]*api.Kind{k})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir, Catalogue: catalogue, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := func() error { cancel(); return <-ended }
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
	case <-time.After(2 * time.Minute):
		t.Fatal("not ready")
	}
	return s, k, stop
}

func TestUndecodableValueIsHiddenAndDeletable(t *testing.T) {
	s, k, stop := start(t, t.TempDir())
	defer stop()
	ctx := context.Background()
	put := func(value []byte) {
		t.Helper()
		r, err := s.member.Load().server.Put(ctx, &pb.PutRequest{Key: []byte("/registry/pods/a/x"), Value: value})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WaitFor(ctx, r.Header.Revision); err != nil {
			t.Fatal(err)
		}
	}
	good, err := encode(k, pod())
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put([]byte("k8s\x00nonsense"))
	if s.Snapshot().Count(k, "") != 0 {
		t.Error("an undecodable object is listed")
	}
	if _, err := s.Create(ctx, k, withRevision(pod(), "")); !errors.Is(err, ErrExists) {
		t.Errorf("create over it: %v", err)
	}
	put(good)
	put([]byte("k8s\x00nonsense"))
	if got := (<-w.Events())[0]; got.Type != Added {
		t.Errorf("turning good is %v", got.Type)
	}
	if got := (<-w.Events())[0]; got.Type != Deleted {
		t.Errorf("turning bad is %v", got.Type)
	}
	if _, err := s.Delete(ctx, k, "a", "x", 0); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Create(ctx, k, withRevision(pod(), "")); err != nil {
		t.Errorf("create after delete: %v", err)
	}
}

// TestWriteOutsideTheRegistry: a revision that changes no object must not keep anybody waiting.
func TestWriteOutsideTheRegistry(t *testing.T) {
	s, _, stop := start(t, t.TempDir())
	defer stop()
	r, err := s.member.Load().server.Put(context.Background(), &pb.PutRequest{Key: []byte("other"), Value: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.WaitFor(ctx, r.Header.Revision); err != nil {
		t.Error(err)
	}
}

// TestEtcdFails: when etcd gives up, reads go on, writes are refused, and both go on once it was opened again.
func TestEtcdFails(t *testing.T) {
	s, k, stop := start(t, t.TempDir())
	ctx := context.Background()
	made, err := s.Create(ctx, k, withRevision(pod(), ""))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	failed := s.member.Load()
	failed.fail("test")
	for s.member.Load() == failed {
		time.Sleep(time.Millisecond)
	}
	deadline := time.Now().Add(20 * time.Second)
	for refused := false; ; {
		if s.Snapshot().Get(k, "a", "x") != made {
			t.Fatal("reads do not go on")
		}
		next := pod()
		next.Spec.NodeName = "n2"
		_, err := s.Update(ctx, k, next, revisionOf(made))
		if err == nil {
			if !refused {
				t.Error("no write was refused")
			}
			break
		}
		if !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		refused = true
		if time.Now().After(deadline) {
			t.Fatal("etcd was not opened again")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if e := (<-w.Events())[0]; e.Type != Modified {
		t.Errorf("the watch goes on with %v", e)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestDamagedDatabaseIsRebuilt: as long as the log is whole, a damaged database costs nothing, and is kept.
func TestDamagedDatabaseIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	s, k, stop := start(t, dir)
	if _, err := s.Create(context.Background(), k, withRevision(pod(), "")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(databasePath(dir), []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, k, stop = start(t, dir)
	if s.Snapshot().Get(k, "a", "x") == nil {
		t.Error("the object is gone")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(databasePath(dir) + ".damaged-*"); len(kept) != 1 {
		t.Errorf("kept: %q", kept)
	}
}
