package storetest

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

func watchOrder(t *testing.T, s *store.Store, k kinds) {
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{}))
	one := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	must[api.Object](t)(s.Create(background, k.pods, Pod("a", "p", "")))
	two := must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", "2"), rev(one)))
	gone := must[api.Object](t)(s.Delete(background, k.configMaps, "a", "x", 0))
	got := collect(t, w, 4)
	for i, want := range []store.EventType{store.Added, store.Added, store.Modified, store.Deleted} {
		if got[i].Type != want || i > 0 && got[i].Revision <= got[i-1].Revision {
			t.Errorf("event %d is %s at %d, want %s", i, got[i].Type, got[i].Revision, want)
		}
	}
	if got[0].Object != one || got[0].Old != nil || got[2].Old != one || got[2].Object != two ||
		got[3].Old != two || rev(got[3].Object) != rev(gone) || got[3].Object.(*corev1.ConfigMap).Data["value"] != "2" {
		t.Errorf("wrong states: %v", got)
	}
	w.Stop()
	w.Stop()
	for range w.Events() {
	}
	if w.Err() != nil {
		t.Errorf("a stopped watch ended with %v", w.Err())
	}
}

func watchResume(t *testing.T, s *store.Store, k kinds) {
	start := s.Snapshot().Revision()
	obj := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "0")))
	revs := []int64{start, rev(obj)}
	// More changes than a ring holds, so that the older ones come from etcd.
	for i := 1; i < 1500; i++ {
		obj = must[api.Object](t)(s.Update(background, k.configMaps, ConfigMap("a", "x", fmt.Sprint(i)), rev(obj)))
		revs = append(revs, rev(obj))
	}
	for _, from := range []int{0, 1, 2, 100, 499, 500, 501, 1000, 1499, 1500} {
		w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}, From: revs[from]}))
		for i, e := range collect(t, w, 1500-from) {
			cm := e.Object.(*corev1.ConfigMap)
			if e.Revision != revs[from+i+1] || cm.Data["value"] != fmt.Sprint(from+i) || rev(cm) != e.Revision {
				t.Fatalf("from %d, event %d: %v at %d", from, i, cm.Data, e.Revision)
			}
			if (from+i == 0) != (e.Old == nil) || e.Old != nil && e.Old.(*corev1.ConfigMap).Data["value"] != fmt.Sprint(from+i-1) {
				t.Fatalf("from %d, event %d: old is %v", from, i, e.Old)
			}
		}
		w.Stop()
	}
	if err := s.Compact(background, revs[1200]); err != nil {
		t.Fatal(err)
	}
	_, err := s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}, From: revs[1199]})
	wantErr(t, err, store.ErrCompacted)
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}, From: revs[1200]}))
	collect(t, w, 300)
	w.Stop()
}

func watchFuture(t *testing.T, s *store.Store, k kinds) {
	_, err := s.Watch(background, store.WatchOptions{From: s.Snapshot().Revision() + 1000})
	wantErr(t, err, store.ErrFuture)
}

func watchIndex(t *testing.T, s *store.Store, k kinds) {
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.pods}, Index: "spec.nodeName", Value: "n1"}))
	defer w.Stop()
	start := s.Snapshot().Revision()
	pod := must[api.Object](t)(s.Create(background, k.pods, Pod("a", "p", "")))
	must[api.Object](t)(s.Create(background, k.pods, Pod("a", "other", "n2")))
	pod = must[api.Object](t)(s.Update(background, k.pods, Pod("a", "p", "n1"), rev(pod)))
	must[api.Object](t)(s.Update(background, k.pods, Pod("a", "p", "n2"), rev(pod)))
	must[api.Object](t)(s.Delete(background, k.pods, "a", "p", 0))
	last := must[api.Object](t)(s.Create(background, k.pods, Pod("a", "q", "n1")))
	check := func(w *store.Watch) {
		t.Helper()
		got := collect(t, w, 3)
		if got[0].Object.(*corev1.Pod).Spec.NodeName != "n1" || got[1].Object.(*corev1.Pod).Spec.NodeName != "n2" || got[2].Object != last {
			t.Errorf("got %v", got)
		}
	}
	check(w)
	resumed := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.pods}, Index: "spec.nodeName", Value: "n1", From: start}))
	defer resumed.Stop()
	check(resumed)
}

func watchNamespace(t *testing.T, s *store.Store, k kinds) {
	start := s.Snapshot().Revision()
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}, Namespace: "b"}))
	defer w.Stop()
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	want := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("b", "x", "1")))
	if got := collect(t, w, 1); got[0].Object != want {
		t.Errorf("got %v", got[0].Object)
	}
	resumed := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}, Namespace: "b", From: start}))
	defer resumed.Stop()
	if got := collect(t, resumed, 1); got[0].Object != want {
		t.Errorf("resumed, got %v", got[0].Object)
	}
}

func watchSlow(t *testing.T, s *store.Store, k kinds) {
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Buffer: 10}))
	for i := range 30 {
		must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", fmt.Sprint(i), "1")))
	}
	for range w.Events() {
	}
	wantErr(t, w.Err(), store.ErrSlow)
}

func watchBookmarks(t *testing.T, s *store.Store, k kinds) {
	w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.pods}, Bookmarks: 20 * time.Millisecond}))
	defer w.Stop()
	cm := must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	// A bookmark can be on its way while the write is.
	for {
		e := collect(t, w, 1)[0]
		if e.Type != store.Bookmark || e.Object != nil {
			t.Fatalf("got %v", e)
		}
		if e.Revision >= rev(cm) {
			return
		}
	}
}

func encodedOnce(t *testing.T, s *store.Store, k kinds) {
	var watches []*store.Watch
	for range 3 {
		w := must[*store.Watch](t)(s.Watch(background, store.WatchOptions{Kinds: []*api.Kind{k.configMaps}}))
		defer w.Stop()
		watches = append(watches, w)
	}
	must[api.Object](t)(s.Create(background, k.configMaps, ConfigMap("a", "x", "1")))
	var encoded int
	for _, w := range watches {
		e := collect(t, w, 1)[0]
		for _, media := range []string{"a", "b"} {
			got, err := e.Encoded(media, func() ([]byte, error) { encoded++; return []byte(media), nil })
			if err != nil || string(got) != media {
				t.Errorf("got %q, %v", got, err)
			}
		}
		first, again := e.As(store.Deleted), e.As(store.Deleted)
		if first != again || e.As(store.Deleted).Type != store.Deleted || e.As(store.Added) != e {
			t.Error("As does not share")
		}
	}
	if encoded != 2 {
		t.Errorf("encoded %d times for 2 media types", encoded)
	}
}
