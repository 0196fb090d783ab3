package kubelet

import (
	"context"
	"sync"
	"time"

	"codeberg.org/skiff/skiff/runtime/rootpath"
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

// diskUse is what a directory takes on disk, as far as it can be read. Containers may change it meanwhile: the walk cannot be led outside.
func diskUse(ctx context.Context, dir string) (u use) {
	u.bytes, u.inodes, _ = rootpath.Usage(ctx, dir)
	return u
}
