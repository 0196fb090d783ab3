// Package memory gives back to the machine what the garbage collector keeps for growth, and the threads that nobody needs any more. Go lets the heap grow to twice of what is alive before it
// collects, and keeps that room for later; on a machine whose memory is for pods, a burst (a rollout, a big list) should not be paid for ever.
// So once allocation has stopped for a while and enough would come back, one collection is made and the room released.
// It never limits the heap and does nothing while there is work.
package memory

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is how often the heap is looked at, which costs some microseconds.
	every = 5 * time.Second
	// quiet is how little is allocated between two looks when nothing is to do.
	quiet = 2 << 20
	// worth is what has to come back, at least, for a collection to be worth its CPU time; it is also a part of what is alive,
	// because that is what a collection has to walk.
	worth, worthPart = 4 << 20, 8
	// rest between two collections. One is due sooner when as much was allocated since the last as is alive: the collector itself
	// had to run for that, so this at most doubles what it costs, and a burst that follows another is not paid for longer.
	rest = time.Minute
)

// heap is what the runtime says of itself, in bytes.
type heap struct {
	allocated uint64 // since the process began
	live      uint64 // when it was last collected
	held      uint64 // in memory, whether objects are in it or not
}

// trim is when this package last made a collection, and what the process had allocated until then.
type trim struct {
	at        time.Time
	allocated uint64
}

// Trim looks after the heap until ctx ends.
func Trim(ctx context.Context) error {
	look := time.NewTicker(every)
	defer look.Stop()
	before, last := read(), trim{}
	least, left := runtime.GOMAXPROCS(0)+spareThreads, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-look.C:
			h := read()
			if due(before, h, last, now) {
				debug.FreeOSMemory()
				h = read()
				last = trim{now, h.allocated}
			}
			if h.allocated-before.allocated < quiet && threadsDue(threads(), least, left) {
				left = endThreads(least)
			}
			before = h
		}
	}
}

// due decides, from two looks and the last collection of this kind.
func due(before, now heap, last trim, at time.Time) bool {
	if now.allocated-before.allocated >= quiet || now.held <= now.live+max(worth, now.live/worthPart) {
		return false
	}
	return at.Sub(last.at) >= rest || now.allocated-last.allocated >= now.live
}

func read() heap {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(s)
	return heap{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), held: s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}
