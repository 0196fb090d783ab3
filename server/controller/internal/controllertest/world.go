// Package controllertest lets tests of controllers play with the real engine, registry, catalogue and store, in a temporary
// directory. The test is everything else: it writes objects as a user would, and plays the kubelet with Run, Ready and Finish.
//
// The law that it holds all controllers to is Idle: when the engine has come to rest, reconciling every key again writes nothing.
package controllertest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/admission"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
	"codeberg.org/skiff/skiff/server/store"
)

// Namespace in which tests work; Start makes it.
const Namespace = "default"

// World is a cluster without nodes.
type World struct {
	*registrytest.Env
	Client *client.Client
	T      testing.TB

	clock       atomic.Int64 // nanoseconds since the epoch
	controllers []controller.Controller
	engine      *controller.Engine
	stop        func()
}

// Start runs the controllers that make returns, which get the world's clock.
func Start(t testing.TB, make func(now func() time.Time) []controller.Controller) *World {
	t.Helper()
	w := &World{T: t}
	w.clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	w.Env = registrytest.Start(t, registrytest.Options{Kinds: api.BuiltIn()})
	plugins, err := admission.Table(admission.Config{Store: w.Store, Catalogue: w.Catalogue, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	w.Registry, err = registry.New(registry.Config{Catalogue: w.Catalogue, Store: w.Store, Admission: plugins, Actions: action.Table(action.Config{}), Now: w.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.Client = client.New(w.Registry, w.Store, w.Catalogue, nil, &user.DefaultInfo{Name: "tester"})
	Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})
	Create(w, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "default"}})
	w.controllers = make(w.Now)
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// Now is the world's clock.
func (w *World) Now() time.Time { return time.Unix(0, w.clock.Load()).UTC() }

func (w *World) start() {
	w.T.Helper()
	engine, err := controller.New(controller.Config{Client: w.Client, Controllers: w.controllers, Log: slog.New(slog.DiscardHandler), Now: w.Now})
	if err != nil {
		w.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	w.engine = engine
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.T.Errorf("the engine ended with: %v", err)
		}
	})
}

// Advance lets time pass: the controllers are stopped, and started again later, as if the server had been off.
func (w *World) Advance(d time.Duration) {
	w.T.Helper()
	w.stop()
	w.clock.Add(int64(d))
	w.start()
}

// Eventually waits until what returns "", and fails with its last answer when that takes too long.
func (w *World) Eventually(what func() string) {
	w.T.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		problem := what()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			w.T.Fatalf("after 10 s: %s\nhealth: %+v", problem, w.engine.Health())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Settle waits until the controllers rest: no key waits, runs or fails, and nothing has been written for a moment.
func (w *World) Settle() {
	w.T.Helper()
	calm, revision := 0, int64(-1)
	w.Eventually(func() string {
		busy := ""
		for _, h := range w.engine.Health() {
			if h.Waiting+h.Running+h.Failing > 0 {
				busy = fmt.Sprintf("%s is busy: %+v", h.Name, h)
			}
		}
		now := w.Store.Snapshot().Revision()
		if busy != "" || now != revision {
			calm, revision = 0, now
			return "not at rest: " + busy
		}
		if calm++; calm < 10 {
			return "not at rest for long enough"
		}
		return ""
	})
}

// Idle settles, and then fails if reconciling every key of every controller once more writes anything.
func (w *World) Idle() {
	w.T.Helper()
	w.Settle()
	w.stop()
	defer w.start()
	before := w.Store.Snapshot().Revision()
	for _, c := range w.controllers {
		for _, key := range w.keys(c) {
			if _, err := c.Reconcile(w.Ctx, w.Client, key); err != nil {
				w.T.Errorf("%s: %s: %v", c.Name, key, err)
			}
			if now := w.Store.Snapshot().Revision(); now != before {
				w.T.Errorf("%s wrote when it should have been idle: key %s, revision %d → %d", c.Name, key, before, now)
				before = now
			}
		}
	}
}

// keys of a controller, of all that exists.
func (w *World) keys(c controller.Controller) (keys []string) {
	snap := w.Client.Snapshot()
	for _, in := range c.Inputs {
		for _, kind := range w.Catalogue.Kinds() {
			if in.Kind != nil && w.Client.KindOf(in.Kind) != kind {
				continue
			}
			for obj := range snap.Snapshot.List(kind, "", "") {
				keys = append(keys, in.Keys(snap, &store.Event{Type: store.Added, Kind: kind, Object: obj})...)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Create creates obj as a user.
func Create[T api.Object](w *World, obj T) T {
	w.T.Helper()
	return registrytest.Create(w.Env, obj)
}

// Mutate changes what obj names as a user.
func Mutate[T api.Object](w *World, obj T, subresource string, change func(T)) T {
	w.T.Helper()
	return registrytest.Mutate(w.Env, obj, subresource, change)
}

// Get reads what obj names, and fails if it is not there.
func Get[T api.Object](w *World, obj T) T {
	w.T.Helper()
	got, ok := registrytest.Get(w.Env, obj)
	if !ok {
		w.T.Fatalf("%T %s/%s is gone", obj, obj.GetNamespace(), obj.GetName())
	}
	return got
}

// Exists tells whether what obj names is there.
func Exists[T api.Object](w *World, obj T) bool {
	w.T.Helper()
	_, ok := registrytest.Get(w.Env, obj)
	return ok
}

// List returns all objects of a kind in the test's namespace that are not being deleted.
func List[T api.Object](w *World) (out []T) {
	for obj := range client.List[T](w.Client.Snapshot(), Namespace) {
		if obj.GetDeletionTimestamp() == nil {
			out = append(out, obj)
		}
	}
	return out
}
