package admission

import (
	"fmt"
	"sync"
	"testing"

	"codeberg.org/skiff/skiff/server/registry"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// A namespace without a quota pays a look-up; one with a quota pays for what has changed since the last write, not for
// what there is.
func BenchmarkQuota(b *testing.B) {
	e := quotaWorld(b)
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := range 100 {
				Create(e, cpuPod(fmt.Sprint("p", w, "-", i), "1m"))
			}
		})
	}
	wg.Wait()
	plugin := resourceQuota(&Config{Store: e.Store, Catalogue: e.Catalogue})
	obj := cpuPod("new", "1m")
	check := func(b *testing.B) {
		b.ReportAllocs()
		a := &registry.Attributes{Request: e.Request(obj), Verb: registry.VerbCreate, Object: obj}
		a.DryRun = true
		_ = plugin.Validate(e.Ctx, a) // adds up
		for b.Loop() {
			if err := plugin.Validate(e.Ctx, a); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("none", check)
	q := limit(e, "q", "pods=10000 requests.cpu=100 count/configmaps=10")
	b.Run("of5000pods", check)
	b.Run("addedUpAnew", func(b *testing.B) {
		v := rules.View{Catalogue: e.Catalogue, Snapshot: e.Store.Snapshot(), Now: e.Time}
		b.ReportAllocs()
		for b.Loop() {
			rules.Open(v, q).Used(v)
		}
	})
}
