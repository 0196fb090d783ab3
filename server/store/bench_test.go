package store_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

var oneKiB = strings.Repeat("x", 1024)

func BenchmarkCreate(b *testing.B) {
	for _, workers := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			k := storetest.ConfigMaps()
			s := storetest.Open(b, k)
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if _, err := s.Create(context.Background(), k, storetest.ConfigMap("a", fmt.Sprint(n), oneKiB)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// BenchmarkHeld: what the process holds for each of 5,000 ConfigMaps of 1 KiB with a label and one manager.
func BenchmarkHeld(b *testing.B) {
	const n = 5000
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		k := storetest.ConfigMaps()
		s := storetest.Open(b, k)
		before := held()
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := worker; i < n; i += 8 {
					c := storetest.ConfigMap("a", fmt.Sprint(i), strings.Clone(oneKiB))
					c.Labels = map[string]string{"set": "memory"}
					c.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "bench", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
						FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{".":{},"f:data":{}},"f:metadata":{"f:labels":{".":{},"f:set":{}}}}`)}}}
					if _, err := s.Create(context.Background(), k, c); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		b.ReportMetric(float64(held()-before)/n, "B/object")
		runtime.KeepAlive(s)
	}
}

func filled(b *testing.B, n int) (*store.Store, *api.Kind) {
	k := storetest.Pods()
	s := storetest.Open(b, k)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < n; i += 8 {
				if _, err := s.Create(context.Background(), k, storetest.Pod(fmt.Sprint("ns", i%10), fmt.Sprint(i), fmt.Sprint("n", i%100))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	return s, k
}

func BenchmarkGet(b *testing.B) {
	s, k := filled(b, 5000)
	for b.Loop() {
		if s.Snapshot().Get(k, "ns7", "4017") == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkList5000(b *testing.B) {
	s, k := filled(b, 5000)
	for b.Loop() {
		var n int
		for range s.Snapshot().List(k, "", "") {
			n++
		}
		if n != 5000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkByIndex(b *testing.B) {
	s, k := filled(b, 5000)
	for b.Loop() {
		var n int
		for range s.Snapshot().ByIndex(k, "spec.nodeName", "n7") {
			n++
		}
		if n != 50 {
			b.Fatal(n)
		}
	}
}

// BenchmarkWatch: 100 watchers of a kind receive 1,000 events each, encoded once.
func BenchmarkWatch(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		k := storetest.ConfigMaps()
		s := storetest.Open(b, k)
		var readers, encoded sync.WaitGroup
		for range 100 {
			w, err := s.Watch(context.Background(), store.WatchOptions{Kinds: []*api.Kind{k}, Buffer: 2000})
			if err != nil {
				b.Fatal(err)
			}
			readers.Go(func() {
				defer w.Stop()
				for n := 0; n < 1000; {
					batch := <-w.Events()
					for _, e := range batch {
						e.Encoded("x", func() ([]byte, error) { return e.Object.(*corev1.ConfigMap).Marshal() })
					}
					n += len(batch)
				}
			})
		}
		b.StartTimer()
		for worker := range 8 {
			encoded.Go(func() {
				for n := range 125 {
					if _, err := s.Create(context.Background(), k, storetest.ConfigMap("a", fmt.Sprint(worker, "-", n), oneKiB)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		encoded.Wait()
		readers.Wait()
	}
}
