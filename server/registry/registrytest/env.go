// Package registrytest gives tests a registry over a real store in a temporary directory, with a few small kinds: enough
// of Pod, ConfigMap, Namespace, Service and their like to exercise every path, without the catalogue's rules.
package registrytest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// Env is a running registry.
type Env struct {
	TB        testing.TB
	Ctx       context.Context
	Catalogue *api.Catalogue
	Store     *store.Store
	Registry  *registry.Registry
	// Time is what the registry's clock says.
	Time time.Time
	// User who makes the requests of the helpers below.
	User user.Info
}

// Options of Start.
type Options struct {
	// Kinds; default Kinds().
	Kinds []*api.Kind
	// Admission and Actions are made once the store exists.
	Admission func(*Env) []registry.Plugin
	Actions   func(*Env) []registry.Action
}

// Start runs a store and a registry until the test ends.
func Start(tb testing.TB, opts Options) *Env {
	tb.Helper()
	if opts.Kinds == nil {
		opts.Kinds = Kinds()
	}
	e := &Env{TB: tb, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), User: &user.DefaultInfo{Name: "tester"}}
	var err error
	if e.Catalogue, err = api.NewCatalogue(opts.Kinds); err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if e.Store, err = store.New(store.Config{Dir: tb.TempDir(), Catalogue: e.Catalogue, Log: log}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.Ctx = ctx
	done := make(chan error, 1)
	go func() { done <- e.Store.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("the store ended with: %v", err)
		}
	})
	select {
	case <-e.Store.Ready():
	case err := <-done:
		done <- nil
		tb.Fatalf("the store did not start: %v", err)
	case <-time.After(30 * time.Second):
		tb.Fatal("the store is not ready after 30 s")
	}
	e.start(opts, log)
	return e
}

func (e *Env) start(opts Options, log *slog.Logger) {
	e.TB.Helper()
	c := registry.Config{Catalogue: e.Catalogue, Store: e.Store, Log: log, Now: func() time.Time { return e.Time }}
	if opts.Admission != nil {
		c.Admission = opts.Admission(e)
	}
	if opts.Actions != nil {
		c.Actions = opts.Actions(e)
	}
	var err error
	if e.Registry, err = registry.New(c); err != nil {
		e.TB.Fatal(err)
	}
}

// Request names obj.
func (e *Env) Request(obj api.Object) registry.Request {
	kind := e.Catalogue.ByObject(obj)
	if kind == nil {
		kind, _ = e.Catalogue.ByKind(obj.GetObjectKind().GroupVersionKind())
	}
	if kind == nil {
		e.TB.Fatalf("no kind in the catalogue for %T", obj)
	}
	return registry.Request{User: e.User, Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName(), UserAgent: "test/1"}
}

// TryCreate creates obj.
func TryCreate[T api.Object](e *Env, obj T) (T, error) {
	out, err := e.Registry.Create(e.Ctx, e.Request(obj), obj)
	got, _ := out.(T)
	return got, err
}

// Create creates obj or fails the test.
func Create[T api.Object](e *Env, obj T) T {
	e.TB.Helper()
	out, err := TryCreate(e, obj)
	if err != nil {
		e.TB.Fatalf("create %T %s/%s: %v", obj, obj.GetNamespace(), obj.GetName(), err)
	}
	return out
}

// TryUpdate puts obj, through a subresource if one is named.
func TryUpdate[T api.Object](e *Env, obj T, subresource string) (T, error) {
	req := e.Request(obj)
	req.Subresource = subresource
	out, _, err := e.Registry.Update(e.Ctx, req, func(runtime.Object) (runtime.Object, error) { return obj, nil }, registry.UpdateOptions{})
	got, _ := out.(T)
	return got, err
}

// Mutate changes the stored object that obj names.
func Mutate[T api.Object](e *Env, obj T, subresource string, change func(T)) T {
	e.TB.Helper()
	req := e.Request(obj)
	req.Subresource = subresource
	out, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(T)
		change(next)
		return next, nil
	}, registry.UpdateOptions{Retry: true})
	if err != nil {
		e.TB.Fatalf("update %T %s/%s: %v", obj, obj.GetNamespace(), obj.GetName(), err)
	}
	return out.(T)
}

// Get reads what obj names; ok is false if it is not there.
func Get[T api.Object](e *Env, obj T) (got T, ok bool) {
	got, ok = e.Store.Snapshot().Get(e.Request(obj).Kind, obj.GetNamespace(), obj.GetName()).(T)
	return got, ok
}

// Delete deletes what obj names, or fails the test.
func (e *Env) Delete(obj api.Object, opts *metav1.DeleteOptions) (api.Object, bool) {
	e.TB.Helper()
	out, done, err := e.Registry.Delete(e.Ctx, e.Request(obj), opts)
	if err != nil {
		e.TB.Fatalf("delete %T %s/%s: %v", obj, obj.GetNamespace(), obj.GetName(), err)
	}
	return out.(api.Object), done
}
