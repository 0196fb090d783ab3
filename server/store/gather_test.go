package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"codeberg.org/skiff/skiff/server/api"
)

// With many watchers a burst comes in few deliveries, the first at once; a watcher that falls behind gets them sooner.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &api.Kind{Kind: "Thing"}
		ws := newWatchers()
		c := &cache{watchers: ws, rings: map[*api.Kind]*ring{}}
		var last *Watch
		for range 100 {
			last = &Watch{opts: WatchOptions{Kinds: []*api.Kind{k}, Gather: true, Buffer: 1024}, cache: c,
				out: make(chan []*Event), wake: make(chan struct{}, 1), done: make(chan struct{})}
			c.watchers.add(last)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go last.pump(ctx, 0)
		receive := func() (n int, after time.Duration) {
			began := time.Now()
			batch := <-last.out
			return len(batch), time.Since(began)
		}
		last.push(newEvent(Added, k, nil, nil, 1))
		if n, after := receive(); n != 1 || after != 0 {
			t.Errorf("the first event: %d after %v", n, after)
		}
		go func() {
			for i := range 10 {
				last.push(newEvent(Added, k, nil, nil, int64(2+i)))
				time.Sleep(100 * time.Microsecond)
			}
		}()
		if n, after := receive(); n != 10 || after != gatherTime(100) {
			t.Errorf("a burst: %d after %v", n, after)
		}
		for i := range 300 {
			last.push(newEvent(Added, k, nil, nil, int64(20+i)))
		}
		if n, after := receive(); n < 256 || after != 0 {
			t.Errorf("a flood: %d after %v", n, after)
		}
		cancel()
		for range last.out {
		}
	})
}
