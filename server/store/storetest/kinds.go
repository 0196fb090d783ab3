// Package storetest is the law of package store: what every store must do, as one suite that runs against the real
// embedded etcd, and small kinds to run it with. Tests of other packages open their stores with [Open].
package storetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// ConfigMaps is a kind with namespaces and nothing special.
func ConfigMaps() *api.Kind {
	return &api.Kind{Kind: "ConfigMap", Plural: "configmaps", Singular: "configmap", Namespaced: true, Prefix: "/registry/configmaps",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.ConfigMap{} },
			NewList: func() runtime.Object { return &corev1.ConfigMapList{} }}}}
}

// Pods is a kind with an index on spec.nodeName and a default.
func Pods() *api.Kind {
	return &api.Kind{Kind: "Pod", Plural: "pods", Singular: "pod", Namespaced: true, Prefix: "/registry/pods",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Pod{} },
			NewList: func() runtime.Object { return &corev1.PodList{} }}},
		Strategy: api.Strategy{Default: func(obj api.Object) {
			if pod := obj.(*corev1.Pod); pod.Spec.SchedulerName == "" {
				pod.Spec.SchedulerName = corev1.DefaultSchedulerName
			}
		}},
		Indexes: []api.Index{{Name: "spec.nodeName", Values: func(obj api.Object) []string {
			if node := obj.(*corev1.Pod).Spec.NodeName; node != "" {
				return []string{node}
			}
			return nil
		}}},
	}
}

// Nodes is a kind without namespaces, stored under another name.
func Nodes() *api.Kind {
	return &api.Kind{Kind: "Node", Plural: "nodes", Singular: "node", Prefix: "/registry/minions",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Node{} },
			NewList: func() runtime.Object { return &corev1.NodeList{} }}}}
}

// Events is a kind whose objects expire, after a second.
func Events() *api.Kind {
	return &api.Kind{Kind: "Event", Plural: "events", Singular: "event", Namespaced: true, Prefix: "/registry/events",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Event{} },
			NewList: func() runtime.Object { return &corev1.EventList{} }}},
		TTL: func(api.Object) time.Duration { return time.Second }}
}

// Widgets is a custom kind, stored as JSON.
func Widgets() *api.Kind {
	return &api.Kind{Group: "example.com", Kind: "Widget", Plural: "widgets", Singular: "widget", Namespaced: true,
		Prefix: "/registry/example.com/widgets",
		Versions: []api.Version{{Group: "example.com", Version: "v1", New: func() api.Object { return &unstructured.Unstructured{} },
			NewList: func() runtime.Object { return &unstructured.UnstructuredList{} }}}}
}

// Config of a store in a directory of the test, with the given kinds.
func Config(t testing.TB, kinds ...*api.Kind) store.Config {
	t.Helper()
	catalogue, err := api.NewCatalogue(kinds)
	if err != nil {
		t.Fatal(err)
	}
	return store.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Catalogue: catalogue, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// Start runs a store until stop is called, at the latest when the test ends, and returns when it is ready.
func Start(t testing.TB, cfg store.Config) (s *store.Store, stop func()) {
	t.Helper()
	s, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatalf("the store did not start: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the store is not ready after a minute")
	}
	return s, stop
}

// Open starts a store with the given kinds in a directory of the test.
func Open(t testing.TB, kinds ...*api.Kind) *store.Store {
	t.Helper()
	s, _ := Start(t, Config(t, kinds...))
	return s
}

// ConfigMap makes one with a value.
func ConfigMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"value": value}}
}

// Pod makes one on a node.
func Pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}
