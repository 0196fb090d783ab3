package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Run holds a store to its law. open returns a store with the given kinds.
func Run(t *testing.T, open func(t *testing.T, kinds ...*api.Kind) *store.Store) {
	for _, law := range []struct {
		name  string
		check func(t *testing.T, s *store.Store, k kinds)
	}{
		{"a created object is read back at its revision", createAndGet},
		{"a key is created once", createTwice},
		{"an update names the revision it replaces", updateConflicts},
		{"an update that changes nothing writes nothing", updateNothing},
		{"a delete returns the last state", deleteReturns},
		{"what came from the store does not change", immutable},
		{"lists are ordered, by namespace, and resumed by key", lists},
		{"a snapshot stays as it was", snapshotStays},
		{"indexes follow the objects", indexes},
		{"custom kinds are stored as JSON and come back", custom},
		{"an object over the limit is refused", tooLarge},
		{"a watch sees every change in order", watchOrder},
		{"a watch resumes from any revision that is not compacted", watchResume},
		{"a watch from the future is refused", watchFuture},
		{"a watch by index sees what enters and leaves", watchIndex},
		{"a watch of a namespace sees only that", watchNamespace},
		{"a watcher that does not read is cut off", watchSlow},
		{"a quiet watch gets bookmarks", watchBookmarks},
		{"an event is encoded once", encodedOnce},
		{"a state can be read at a past revision", snapshotAt},
		{"kinds come and go", kindsComeAndGo},
		{"objects expire", expire},
		{"concurrent writers lose no update", concurrent},
		{"random operations match a model", model},
	} {
		t.Run(strings.ReplaceAll(law.name, " ", "_"), func(t *testing.T) {
			t.Parallel() // some of them wait
			k := kinds{ConfigMaps(), Pods(), Nodes(), Events(), Widgets()}
			law.check(t, open(t, k.configMaps, k.pods, k.nodes, k.events), k)
		})
	}
}

type kinds struct{ configMaps, pods, nodes, events, widgets *api.Kind }

var background = context.Background()

func rev(obj api.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return n
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func createAndGet(t *testing.T, s *store.Store, k kinds) {
	in := ConfigMap("a", "x", "1")
	in.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	made := must[api.Object](t)(s.Create(background, k.configMaps, in))
	if in.ResourceVersion != "" {
		t.Error("Create changed its argument")
	}
	got := s.Snapshot().Get(k.configMaps, "a", "x")
	if got != made || rev(got) == 0 || s.Snapshot().Revision() < rev(got) {
		t.Fatalf("got %v at %d, created %v", got, s.Snapshot().Revision(), made)
	}
	cm := got.(*corev1.ConfigMap)
	if cm.Data["value"] != "1" || cm.Kind != "" {
		t.Errorf("got %v", cm)
	}
	if s.Snapshot().Get(k.configMaps, "a", "y") != nil || s.Snapshot().Get(k.configMaps, "b", "x") != nil {
		t.Error("found what is not there")
	}
	pod := must[api.Object](t)(s.Create(background, k.pods, Pod("a", "x", "")))
	if pod.(*corev1.Pod).Spec.SchedulerName == "" {
		t.Error("defaults are not filled in on decode")
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	must[api.Object](t)(s.Create(background, k.nodes, node))
	if s.Snapshot().Get(k.nodes, "", "n") == nil {
		t.Error("an object without namespace is not found")
	}
}

func createTwice(t *testing.T, s *store.Store, k kinds) {
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	_, err := s.Create(background, k.configMaps, ConfigMap("a", "x", "2"))
	wantErr(t, err, store.ErrExists)
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := s.Create(background, k.configMaps, ConfigMap("a", "raced", "2"))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrExists) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d creators won", won.Load())
	}
}

func updateConflicts(t *testing.T, s *store.Store, k kinds) {
	_, err := s.Update(background, k.configMaps, ConfigMap("a", "x", "1"), 1)
	wantErr(t, err, store.ErrNotFound)
	first := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	second := must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", "2"), rev(first)))
	if rev(second) <= rev(first) || second.(*corev1.ConfigMap).Data["value"] != "2" {
		t.Fatalf("updated to %v", second)
	}
	_, err = s.Update(background, k.configMaps, ConfigMap("a", "x", "3"), rev(first))
	wantErr(t, err, store.ErrConflict)
	_, err = s.Update(background, k.configMaps, ConfigMap("a", "x", "3"), rev(second)+10)
	wantErr(t, err, store.ErrConflict)
}

func updateNothing(t *testing.T, s *store.Store, k kinds) {
	first := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	again := must[api.Object](t)(s.Update(background, k.configMaps, first.DeepCopyObject().(api.Object), rev(first)))
	if rev(again) != rev(first) {
		t.Errorf("revision went from %d to %d", rev(first), rev(again))
	}
}

func deleteReturns(t *testing.T, s *store.Store, k kinds) {
	_, err := s.Delete(background, k.configMaps, "a", "x", 0)
	wantErr(t, err, store.ErrNotFound)
	first := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	second := must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", "2"), rev(first)))
	_, err = s.Delete(background, k.configMaps, "a", "x", rev(first))
	wantErr(t, err, store.ErrConflict)
	last := must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", rev(second)))
	if rev(last) <= rev(second) || last.(*corev1.ConfigMap).Data["value"] != "2" {
		t.Errorf("last state is %v", last)
	}
	if s.Snapshot().Get(k.configMaps, "a", "x") != nil {
		t.Error("it is still there")
	}
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "3")))
	must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", 0))
}

func immutable(t *testing.T, s *store.Store, k kinds) {
	in := ConfigMap("a", "x", "1")
	first := must[api.Object](t)(s.Create(background, k.configMaps, in))
	in.Data["value"] = "changed by the caller"
	at := rev(first)
	second := must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", "2"), at))
	must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", 0))
	if rev(first) != at || first.(*corev1.ConfigMap).Data["value"] != "1" || second.(*corev1.ConfigMap).Data["value"] != "2" {
		t.Error("an object that was handed out has changed")
	}
}

func lists(t *testing.T, s *store.Store, k kinds) {
	for _, key := range []string{"b/1", "a/2", "a-b/1", "a/1", "a/10", "c/1"} {
		ns, name, _ := strings.Cut(key, "/")
		must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap(ns, name, "")))
	}
	snap := s.Snapshot()
	check := func(ns, after, want string) {
		t.Helper()
		var got []string
		for obj := range snap.List(k.configMaps, ns, after) {
			got = append(got, obj.GetNamespace()+"/"+obj.GetName())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("list %q after %q is %v, want %s", ns, after, got, want)
		}
	}
	check("", "", "a-b/1 a/1 a/10 a/2 b/1 c/1")
	check("a", "", "a/1 a/10 a/2")
	check("a", "a/1", "a/10 a/2")
	check("a", "a/15", "a/2")
	check("", "a/2", "b/1 c/1")
	check("none", "", "")
	for ns, want := range map[string]int{"": 6, "a": 3, "a-b": 1, "none": 0} {
		if n := snap.Count(k.configMaps, ns); n != want {
			t.Errorf("count of %q is %d, want %d", ns, n, want)
		}
	}
	for range snap.List(k.configMaps, "", "") {
		break // an iteration can end early
	}
}

func snapshotStays(t *testing.T, s *store.Store, k kinds) {
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	before := s.Snapshot()
	for i := range 100 {
		must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", fmt.Sprint(i), "1")))
	}
	must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", 0))
	if before.Count(k.configMaps, "") != 1 || before.Get(k.configMaps, "a", "x") == nil {
		t.Error("an old snapshot has changed")
	}
	if n := s.Snapshot().Count(k.configMaps, "a"); n != 100 {
		t.Errorf("the new one has %d", n)
	}
}

func names(seq func(func(api.Object) bool)) string {
	var got []string
	for obj := range seq {
		got = append(got, obj.GetName())
	}
	return strings.Join(got, " ")
}

func indexes(t *testing.T, s *store.Store, k kinds) {
	first := must[api.Object](t)(s.Create(background, k.pods, Pod("a", "1", "")))
	owned := Pod("a", "2", "n1")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: "u1"}}
	must[api.Object](t)(s.Create(background, k.pods, owned))
	must[api.Object](t)(s.Update(background, k.pods, Pod("a", "1", "n1"), rev(first)))
	must[api.Object](t)(s.Create(background, k.pods, Pod("a", "3", "n10")))
	if got := names(s.Snapshot().ByIndex(k.pods, "spec.nodeName", "n1")); got != "1 2" {
		t.Errorf("n1 has %q", got)
	}
	if got := names(s.Snapshot().ByIndex(k.pods, store.OwnerIndex, "u1")); got != "2" {
		t.Errorf("u1 owns %q", got)
	}
	must[api.Object](t)(s.Delete(background, k.pods, "a", "2", 0))
	if got := names(s.Snapshot().ByIndex(k.pods, "spec.nodeName", "n1")); got != "1" {
		t.Errorf("n1 has %q after the delete", got)
	}
	if got := names(s.Snapshot().ByIndex(k.pods, store.OwnerIndex, "u1")); got != "" {
		t.Errorf("u1 owns %q after the delete", got)
	}
}

func custom(t *testing.T, s *store.Store, k kinds) {
	if err := s.AddKind(background, k.widgets); err != nil {
		t.Fatal(err)
	}
	made := must[api.Object](t)(s.Create(background, k.widgets, widget("w", 7)))
	got := made.(*unstructured.Unstructured)
	size, _, _ := unstructured.NestedInt64(got.Object, "spec", "size")
	if size != 7 || got.GetKind() != "Widget" || rev(got) == 0 {
		t.Errorf("came back as %v", got.Object)
	}
	again := must[api.Object](t)(s.Update(background, k.widgets, got.DeepCopy(), rev(got)))
	if rev(again) != rev(got) {
		t.Error("an update that changes nothing was written")
	}
}

func widget(name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"namespace": "a", "name": name, "uid": string(types.UID("u-" + name))}, "spec": map[string]any{"size": size}}}
}

func tooLarge(t *testing.T, s *store.Store, k kinds) {
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "fits", strings.Repeat("x", store.MaxObjectSize-1000))))
	_, err := s.Create(background, k.configMaps, ConfigMap("a", "large", strings.Repeat("x", store.MaxObjectSize)))
	wantErr(t, err, store.ErrTooLarge)
}

func snapshotAt(t *testing.T, s *store.Store, k kinds) {
	obj := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "0")))
	revs := []int64{rev(obj)}
	for i := 1; i < 30; i++ {
		obj = must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", fmt.Sprint(i)), rev(obj)))
		revs = append(revs, rev(obj))
	}
	must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", 0))
	for i, at := range revs {
		snap := must[*store.Snapshot](t)(s.SnapshotAt(background, k.configMaps, at))
		got, _ := snap.Get(k.configMaps, "a", "x").(*corev1.ConfigMap)
		if snap.Revision() != at || got == nil || got.Data["value"] != fmt.Sprint(i) || rev(got) != at {
			t.Fatalf("at revision %d: %v", at, got)
		}
	}
	_, err := s.SnapshotAt(background, k.configMaps, s.Snapshot().Revision()+100)
	wantErr(t, err, store.ErrFuture)
	if err := s.Compact(background, revs[20]); err != nil {
		t.Fatal(err)
	}
	must[*store.Snapshot](t)(s.SnapshotAt(background, k.pods, revs[20]))
	_, err = s.SnapshotAt(background, k.pods, revs[19])
	wantErr(t, err, store.ErrCompacted)
}

func kindsComeAndGo(t *testing.T, s *store.Store, k kinds) {
	if err := s.AddKind(background, k.widgets); err != nil {
		t.Fatal(err)
	}
	must[api.Object](t)(s.Create(background, k.widgets, widget("w", 1)))
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.widgets}}))
	s.RemoveKind(k.widgets)
	for range w.Events() {
	}
	if w.Err() == nil {
		t.Error("the watch ended without a reason")
	}
	if s.Snapshot().Get(k.widgets, "a", "w") != nil {
		t.Error("a removed kind is still read")
	}
	again := Widgets()
	if err := s.AddKind(background, again); err != nil {
		t.Fatal(err)
	}
	if s.Snapshot().Get(again, "a", "w") == nil {
		t.Error("what is in etcd was not read when the kind came back")
	}
	must[api.Object](t)(s.Delete(background, again, "a", "w", 0))
}

func expire(t *testing.T, s *store.Store, k kinds) {
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.events}}))
	defer w.Stop()
	must[api.Object](t)(s.Create(background, k.events, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "e"}}))
	got := collect(t, w, 2)
	if got[1].Type != store.Deleted || s.Snapshot().Count(k.events, "") != 0 {
		t.Errorf("got %v", got[1])
	}
}

func concurrent(t *testing.T, s *store.Store, k kinds) {
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "counter", "0")))
	var all sync.WaitGroup
	const workers, each = 8, 20
	for range workers {
		all.Go(func() {
			for done := 0; done < each; {
				cm := s.Snapshot().Get(k.configMaps, "a", "counter").(*corev1.ConfigMap)
				n, _ := strconv.Atoi(cm.Data["value"])
				_, err := s.Update(background, k.configMaps, ConfigMap("a", "counter", strconv.Itoa(n+1)), rev(cm))
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	cm := s.Snapshot().Get(k.configMaps, "a", "counter").(*corev1.ConfigMap)
	if cm.Data["value"] != strconv.Itoa(workers*each) {
		t.Errorf("counted to %s", cm.Data["value"])
	}
}

// model does random operations on a store and on a map, and then compares: the store, a replay of all its events, and
// its state at every revision on the way.
func model(t *testing.T, s *store.Store, k kinds) {
	random := rand.New(rand.NewPCG(1, 2))
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.pods}}))
	defer w.Stop()
	want := map[string]string{}
	history := map[int64]string{}
	var changes int
	for range 500 {
		name, node := fmt.Sprint(random.IntN(20)), fmt.Sprint("n", random.IntN(5))
		var obj api.Object
		old := s.Snapshot().Get(k.pods, "a", name)
		switch {
		case old == nil:
			obj = must[api.Object](t)(s.Create(background, k.pods, Pod("a", name, node)))
			want[name] = node
		case random.IntN(3) == 0:
			obj = must[api.Object](t)(s.Delete(background, k.pods, "a", name, 0))
			delete(want, name)
		case want[name] == node:
			continue
		default:
			obj = must[api.Object](t)(s.Update(background, k.pods, Pod("a", name, node), rev(old)))
			want[name] = node
		}
		changes++
		history[rev(obj)] = fmt.Sprint(want)
	}
	replayed := map[string]string{}
	for _, e := range collect(t, w, changes) {
		if e.Type == store.Deleted {
			delete(replayed, e.Object.GetName())
		} else {
			replayed[e.Object.GetName()] = e.Object.(*corev1.Pod).Spec.NodeName
		}
		if fmt.Sprint(replayed) != history[e.Revision] {
			t.Fatalf("the events up to %d make %v, want %s", e.Revision, replayed, history[e.Revision])
		}
	}
	for at, want := range history {
		snap := must[*store.Snapshot](t)(s.SnapshotAt(background, k.pods, at))
		if got := fmt.Sprint(nodesOf(snap, k.pods)); got != want {
			t.Fatalf("state at %d is %s, want %s", at, got, want)
		}
	}
	for n := range 5 {
		node := fmt.Sprint("n", n)
		for obj := range s.Snapshot().ByIndex(k.pods, "spec.nodeName", node) {
			if want[obj.GetName()] != node {
				t.Errorf("index %s has %s", node, obj.GetName())
			}
		}
	}
}

func nodesOf(s *store.Snapshot, k *api.Kind) map[string]string {
	nodes := map[string]string{}
	for obj := range s.List(k, "", "") {
		nodes[obj.GetName()] = obj.(*corev1.Pod).Spec.NodeName
	}
	return nodes
}

// collect reads n events, or fails after ten seconds.
func collect(t *testing.T, w *store.Watch, n int) []*store.Event {
	t.Helper()
	var got []*store.Event
	deadline := time.After(10 * time.Second)
	for len(got) < n {
		select {
		case batch, ok := <-w.Events():
			if !ok {
				t.Fatalf("the watch ended after %d of %d events: %v", len(got), n, w.Err())
			}
			got = append(got, batch...)
		case <-deadline:
			t.Fatalf("got %d of %d events", len(got), n)
		}
	}
	return got
}
