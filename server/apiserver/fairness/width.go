package fairness

import "time"

// How many objects or watchers weigh as much as one more seat. An object of a list costs about 10 µs to go through and
// encode, an event about 5 µs a watcher (measured; events are encoded once for all watchers).
const (
	objectsPerSeat  = 500
	maxListWidth    = 10
	costPerWatcher  = 5 * time.Microsecond
	leastExtraWork  = time.Millisecond // less is lost in the noise and not worth a timer
	mostExtraWork   = 100 * time.Millisecond
	mostExtraTimers = 1000 // a level holds no more finished writes than this
)

// Width is the number of seats of a request that goes through that many objects.
func Width(objects int) int {
	return min(maxListWidth, 1+max(0, objects-1)/objectsPerSeat)
}

// ExtraWork is how long a finished write still keeps the server busy because so many watches have to hear of it. It is
// bounded: a thousand watchers must not hold up all writes.
func ExtraWork(watchers int) time.Duration {
	d := time.Duration(watchers) * costPerWatcher
	if d < leastExtraWork {
		return 0
	}
	return min(d, mostExtraWork)
}
