package registry_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

func kilobyte(name string) *corev1.ConfigMap {
	c := configMap(name)
	c.Data["data"] = strings.Repeat("x", 1024)
	return c
}

// reportCPU adds the CPU time of the whole process, etcd's included, to a benchmark's figures.
func reportCPU(b *testing.B) func() {
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
	e := Start(b, Options{})
	Create(e, kilobyte("warm"))
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	defer reportCPU(b)()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			Create(e, kilobyte(fmt.Sprint("c", n.Add(1))))
		}
	})
}

func BenchmarkGet(b *testing.B) {
	e := Start(b, Options{})
	c := Create(e, kilobyte("a"))
	req := e.Request(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Registry.Get(e.Ctx, req, metav1.GetOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	e := Start(b, Options{})
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	defer reportCPU(b)()
	b.RunParallel(func(pb *testing.PB) {
		c := Create(e, kilobyte(fmt.Sprint("c", n.Add(1))))
		req := e.Request(c)
		for pb.Next() {
			v := fmt.Sprint(n.Add(1))
			_, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
				next := current.DeepCopyObject().(*corev1.ConfigMap)
				next.Data["n"] = v
				return next, nil
			}, registry.UpdateOptions{Retry: true})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func manyPods(b *testing.B, e *Env, n int) {
	var next atomic.Int64
	done := make(chan bool)
	const workers = 64
	for range workers {
		go func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				Create(e, pod(fmt.Sprint("p", i), fmt.Sprint("n", i%50)))
			}
			done <- true
		}()
	}
	for range workers {
		<-done
	}
}

func BenchmarkList5000(b *testing.B) {
	e := Start(b, Options{})
	manyPods(b, e, 5000)
	req := e.Request(pod("", ""))
	for name, o := range map[string]registry.ListOptions{
		"all":       {},
		"ofNode":    {Fields: fields.ParseSelectorOrDie("spec.nodeName=n7")},
		"otherwise": {Fields: fields.ParseSelectorOrDie("status.phase=Running")},
		"page":      {Limit: 500},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Registry.List(e.Ctx, req, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDeleteCollection5000(b *testing.B) {
	e := Start(b, Options{})
	req := e.Request(pod("", ""))
	for b.Loop() {
		b.StopTimer()
		manyPods(b, e, 5000)
		b.StartTimer()
		got, err := e.Registry.DeleteCollection(e.Ctx, req, registry.ListOptions{}, seconds(0))
		if err != nil || len(got.Items) != 5000 {
			b.Fatal(len(got.Items), err)
		}
	}
}
