package memory

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// Go keeps every thread that it ever made, each with its stacks, in the kernel too. A burst of blocking system calls (400 pods that start) leaves dozens behind.
// What ends a thread is a goroutine that ends while it is locked to it: so idle threads are taken and ended one by one.
const (
	// spareThreads beside one for each processor that runs Go code are left alone: the runtime's own, the poller's, a few system calls at once.
	spareThreads = 8
	// threadPart is the part by which there have to be more than after the last time.
	threadPart = 5
)

// threadsDue decides: count now, least as many as are left alone, and after as many as there were after the last time.
func threadsDue(count, least, after int) bool {
	return count > least && count > after+after/threadPart
}

// endThreads ends idle threads until there are no more than least, or none that are idle. It returns how many there are then.
func endThreads(least int) int {
	for count := threads(); ; {
		if count <= least {
			return count
		}
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		}()
		now := fewerThan(count)
		if now >= count {
			return now // there was no idle thread, so one was made for this
		}
		count = now
	}
}

// fewerThan waits for a thread to end, which takes a moment.
func fewerThan(count int) int {
	now := threads()
	for range 20 {
		if now < count {
			break
		}
		time.Sleep(time.Millisecond)
		now = threads()
	}
	return now
}

// threads of the Go runtime that live.
func threads() int {
	s := []metrics.Sample{{Name: "/sched/threads/total:threads"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0 // an older Go does not say
	}
	return int(s[0].Value.Uint64())
}
