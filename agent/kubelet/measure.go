package kubelet

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/internal/beneath"
)

const (
	// measureFresh is how long what was measured by walking files is shown again.
	measureFresh = time.Minute
	// measurePatience is how long one scrape waits for walks; what takes longer is in a later one.
	measurePatience = 3 * time.Second
	// measureForget: what nobody asked for is forgotten.
	measureForget = 15 * time.Minute
)

// use of the disk by what is below a directory.
type use struct{ bytes, inodes int64 }

// measurer walks files for those who ask, one directory at a time, and remembers.
type measurer struct {
	walking sync.Mutex

	mu   sync.Mutex
	have map[string]*measured
}

type measured struct {
	use   use
	known bool
	at    time.Time
	busy  chan struct{} // closed when the walk that goes on has ended; nil for none
}

// get returns what is known of key, after measuring it if that is old and ctx has time for it.
func (m *measurer) get(ctx context.Context, key string, walk func() (use, error)) (use, bool) {
	m.mu.Lock()
	x := m.have[key]
	if x == nil {
		x = &measured{}
		m.have[key] = x
	}
	if x.busy == nil && ctx.Err() == nil && (!x.known || time.Since(x.at) > measureFresh) {
		done := make(chan struct{})
		x.busy = done
		go func() {
			m.walking.Lock()
			u, err := walk()
			m.walking.Unlock()
			m.mu.Lock()
			defer m.mu.Unlock()
			if err == nil {
				x.use, x.known, x.at = u, true, time.Now()
			}
			x.busy = nil
			close(done)
		}()
	}
	busy := x.busy
	m.mu.Unlock()
	if busy != nil {
		select {
		case <-busy:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return x.use, x.known
}

// prune forgets what nobody has asked for lately.
func (m *measurer) prune() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, x := range m.have {
		if x.busy == nil && time.Since(x.at) > measureForget {
			delete(m.have, key)
		}
	}
}

// diskUse is what a directory of the node's own takes on disk; it may be gone.
func diskUse(ctx context.Context, dir string) use {
	at, err := beneath.Open(dir)
	if err != nil {
		return use{}
	}
	defer at.Close()
	return treeUse(ctx, at)
}

// treeUse counts a file with several links once. Containers may change the tree meanwhile: the walk cannot be led outside, nor to another
// mount. A tree that is too deep to be measured counts as endless.
func treeUse(ctx context.Context, at *beneath.Place) (u use) {
	linked := map[uint64]bool{}
	err := at.Walk(ctx, func(e *beneath.Entry) error {
		if e.Stat.Nlink > 1 && e.Stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			if linked[e.Stat.Ino] {
				return nil
			}
			linked[e.Stat.Ino] = true
		}
		u.bytes += e.Stat.Blocks * 512
		u.inodes++
		return nil
	})
	if errors.Is(err, beneath.ErrTooDeep) {
		const endless = math.MaxInt64 / 1024 // sums of some of them do not overflow
		return use{endless, endless}
	}
	return u
}
