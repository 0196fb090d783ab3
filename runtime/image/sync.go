package image

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// keyedLock is a lock a key, whose wait ends with the context.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// take waits for the key and returns what gives it back.
func (l *keyedLock) take(ctx context.Context, key string) (release func(), err error) {
	for {
		l.mu.Lock()
		busy := l.held[key]
		if busy == nil {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			l.held[key] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// acquire takes a place in a semaphore.
func acquire(ctx context.Context, sem chan struct{}) (release func(), err error) {
	select {
	case sem <- struct{}{}:
		return func() { <-sem }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// syncer writes a whole file system to disk. Callers that come while one sync runs share the next one.
type syncer struct {
	dir  string
	mu   sync.Mutex
	next *syncRound
	busy sync.Mutex
}

type syncRound struct {
	once sync.Once
	err  error
}

// sync returns when all that was written before the call is on disk.
func (s *syncer) sync() error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &syncRound{}
	}
	round := s.next
	s.mu.Unlock()
	round.once.Do(func() {
		s.busy.Lock() // the round before has ended
		defer s.busy.Unlock()
		s.mu.Lock()
		s.next = nil // who comes from here on needs another round
		s.mu.Unlock()
		round.err = syncfs(s.dir)
	})
	return round.err
}

func syncfs(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", dir, err)
	}
	return nil
}
