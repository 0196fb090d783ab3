package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

// world is a store with an engine's client on it; there is no registry, so reconcilers only read.
type world struct {
	*testing.T
	store      *store.Store
	configMaps *api.Kind
	client     *client.Client
}

func newWorld(t *testing.T) *world {
	cfg := storetest.Config(t, storetest.ConfigMaps(), storetest.Pods())
	s, _ := storetest.Start(t, cfg)
	return &world{t, s, cfg.Catalogue.Kinds()[0], client.New(nil, s, cfg.Catalogue, nil, &user.DefaultInfo{Name: "test"})}
}

func (w *world) create(name string) {
	w.Helper()
	if _, err := w.store.Create(context.Background(), w.configMaps, storetest.ConfigMap("a", name, "")); err != nil {
		w.Fatal(err)
	}
}

// run starts an engine and returns what stops it and waits for its end.
func (w *world) run(controllers ...controller.Controller) (*controller.Engine, func()) {
	w.Helper()
	e, err := controller.New(controller.Config{Client: w.client, Controllers: controllers, Log: slog.New(slog.NewTextHandler(w.Output(), nil))})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(stop)
	return e, stop
}

func names(_ client.Snapshot, e *store.Event) []string { return []string{e.Object.GetName()} }

var inputs = []controller.Input{{Kind: &corev1.ConfigMap{}, Keys: names}}

func wait(t *testing.T, got <-chan string, want ...string) {
	t.Helper()
	var have []string
	deadline := time.After(time.Minute)
	for len(have) < len(want) {
		select {
		case key := <-got:
			have = append(have, key)
		case <-deadline:
			t.Fatalf("reconciled %v, want %v", have, want)
		}
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Fatalf("reconciled %v, want %v", have, want)
	}
}

func TestReconcilesWhatExistsAndWhatComes(t *testing.T) {
	w := newWorld(t)
	w.create("1")
	w.create("2")
	got := make(chan string, 10)
	w.run(controller.Controller{Name: "c", Inputs: inputs, Reconcile: func(_ context.Context, c *client.Client, key string) (controller.Result, error) {
		if _, ok := client.Get[*corev1.ConfigMap](c.Snapshot(), "a", key); !ok {
			key += " is gone"
		}
		got <- key
		return controller.Result{}, nil
	}})
	wait(t, got, "1", "2")
	w.create("3")
	wait(t, got, "3")
	if _, err := w.store.Delete(context.Background(), w.configMaps, "a", "1", 0); err != nil {
		t.Fatal(err)
	}
	wait(t, got, "1 is gone")
}

func TestEveryKind(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 10)
	w.run(controller.Controller{Name: "c", Inputs: []controller.Input{{Keys: func(_ client.Snapshot, e *store.Event) []string {
		return []string{e.Kind.Kind + " " + e.Object.GetName()}
	}}}, Reconcile: func(_ context.Context, _ *client.Client, key string) (controller.Result, error) {
		got <- key
		return controller.Result{}, nil
	}})
	w.create("1")
	wait(t, got, "ConfigMap 1")
}

func TestRetriesErrorsAndPanics(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 10)
	var tries atomic.Int32
	e, _ := w.run(controller.Controller{Name: "c", Inputs: inputs, Reconcile: func(_ context.Context, _ *client.Client, key string) (controller.Result, error) {
		switch tries.Add(1) {
		case 1:
			return controller.Result{}, errors.New("first")
		case 2:
			panic("second")
		}
		got <- key
		return controller.Result{}, nil
	}})
	w.create("1")
	wait(t, got, "1")
	if h := e.Health()[0]; h.LastError != "1: panic: second" || h.FailedAt.IsZero() {
		t.Errorf("health is %+v", h)
	}
}

func TestRunsAgainWhenAsked(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 10)
	var tries atomic.Int32
	w.run(controller.Controller{Name: "c", Inputs: inputs, Reconcile: func(_ context.Context, _ *client.Client, key string) (controller.Result, error) {
		got <- key
		if tries.Add(1) < 3 {
			return controller.Result{After: 10 * time.Millisecond}, nil
		}
		return controller.Result{}, nil
	}})
	w.create("1")
	wait(t, got, "1", "1", "1")
}

// TestOneWorkerAKey: no key is worked on twice at a time, a change meanwhile makes it run again, and Workers bound all.
func TestOneWorkerAKey(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	running, runs, most := map[string]bool{}, map[string]int{}, 0
	_, stop := w.run(controller.Controller{Name: "c", Inputs: inputs, Workers: 3, Reconcile: func(_ context.Context, _ *client.Client, key string) (controller.Result, error) {
		mu.Lock()
		if running[key] {
			t.Errorf("%s is worked on twice", key)
		}
		running[key] = true
		runs[key]++
		most = max(most, len(running))
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		delete(running, key)
		return controller.Result{}, nil
	}})
	for i := range 20 {
		w.create(fmt.Sprint(i))
	}
	for i := range 20 {
		if _, err := w.store.Delete(context.Background(), w.configMaps, "a", fmt.Sprint(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		mu.Lock()
		done := len(runs) == 20 && len(running) == 0
		mu.Unlock()
		if done || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	if len(runs) != 20 || most > 3 || most < 2 {
		t.Errorf("%d keys ran, at most %d at a time", len(runs), most)
	}
}

// TestStopWaits: Run returns only after the last Reconcile.
func TestStopWaits(t *testing.T) {
	w := newWorld(t)
	var ended atomic.Bool
	started := make(chan string, 1)
	_, stop := w.run(controller.Controller{Name: "c", Inputs: inputs, Reconcile: func(ctx context.Context, _ *client.Client, key string) (controller.Result, error) {
		started <- key
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		ended.Store(true)
		return controller.Result{}, ctx.Err()
	}})
	w.create("1")
	wait(t, started, "1")
	stop()
	if !ended.Load() {
		t.Error("Run returned while a Reconcile was running")
	}
}

func TestRefusesWhatCannotRun(t *testing.T) {
	w := newWorld(t)
	ok := func(context.Context, *client.Client, string) (controller.Result, error) {
		return controller.Result{}, nil
	}
	for name, controllers := range map[string][]controller.Controller{
		"no name":      {{Reconcile: ok}},
		"no reconcile": {{Name: "c"}},
		"same name":    {{Name: "c", Reconcile: ok}, {Name: "c", Reconcile: ok}},
		"unknown kind": {{Name: "c", Reconcile: ok, Inputs: []controller.Input{{Kind: &corev1.Secret{}, Keys: names}}}},
	} {
		if _, err := controller.New(controller.Config{Client: w.client, Controllers: controllers}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
