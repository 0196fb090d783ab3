package customresource_test

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

const benchBody = `{metadata: {labels: {app: web, tier: front}, annotations: {note: "a text of some length, as annotations are"}},
  spec: {hostname: a.example.com, listeners: [{name: web, port: 80}, {name: other, port: 81}], options: {a: b, c: d}}}`

func benchConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web", "tier": "front"},
			Annotations: map[string]string{"note": "a text of some length, as annotations are"}},
		Data: map[string]string{"hostname": "a.example.com", "web": "80", "other": "81", "a": "b", "c": "d"},
	}
}

// cpu reports the CPU time of an operation, which on a busy machine says more than the clock.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkCreate(b *testing.B) {
	w := started(b)
	b.Run("custom", func(b *testing.B) {
		req := w.request("v1", "")
		one, _ := w.decode(req, benchBody)
		b.ReportAllocs()
		defer cpu(b)()
		for i := 0; b.Loop(); i++ {
			req.Name = fmt.Sprint("c", i)
			u := one.DeepCopy()
			u.SetName(req.Name)
			if _, err := req.Version.Prune(u); err != nil {
				b.Fatal(err)
			}
			if _, err := w.Registry.Create(w.Ctx, req, u); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("configmap", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for i := 0; b.Loop(); i++ {
			registrytest.Create(w.Env, benchConfigMap(fmt.Sprint("m", i)))
		}
	})
}

// BenchmarkMemory reports what an object costs in the cache.
func BenchmarkMemory(b *testing.B) {
	const n = 1000
	held := func(make func(i int)) float64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			make(i)
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		return float64(after.HeapAlloc-before.HeapAlloc) / n
	}
	for b.Loop() {
		w := started(b)
		w.create("v1", "first", benchBody)
		registrytest.Create(w.Env, benchConfigMap("first"))
		b.ReportMetric(held(func(i int) {
			w.create("v1", fmt.Sprint("c", i), strings.Replace(benchBody, "a.example.com", fmt.Sprint("h", i), 1))
		}), "B/custom")
		b.ReportMetric(held(func(i int) { registrytest.Create(w.Env, benchConfigMap(fmt.Sprint("m", i))) }), "B/configmap")
	}
}

// BenchmarkDefinition reports what a served definition costs that nobody uses.
func BenchmarkDefinition(b *testing.B) {
	const n = 50
	for b.Loop() {
		w := started(b)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			w.define(gateways(b, func(d *definition) {
				d.Name, d.Spec.Names.Plural = fmt.Sprintf("gateways%d.net.example.com", i), fmt.Sprint("gateways", i)
				d.Spec.Names.Kind, d.Spec.Names.ListKind = fmt.Sprint("Gateway", i), fmt.Sprint("GatewayList", i)
			}))
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/definition")
	}
}

// BenchmarkPrune is what a request costs before the registry sees it, beyond decoding.
func BenchmarkPrune(b *testing.B) {
	w := started(b)
	req := w.request("v1", "a")
	u, _ := w.decode(req, benchBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := req.Version.Prune(u); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	w := started(b)
	req := w.request("v1", "a")
	u := w.create("v1", "a", benchBody)
	b.ReportAllocs()
	for b.Loop() {
		if errs := req.Version.Custom.Validate(u); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
