package store

import (
	"context"
	"time"
)

// mostUncommitted is how many bytes of values may have been written since the last commit of etcd's backend. Until then etcd has them in
// memory, twice; a thousand large objects would be more than a gigabyte.
const mostUncommitted = 16 << 20

// As many are committed within commitSoon, so that what a burst left in memory does not stay for the five minutes until etcd's own commit.
const (
	someUncommitted = 1 << 20
	commitSoon      = time.Minute
)

// written counts bytes of values on their way into the backend, and asks for a commit when they are many.
func (s *Store) written(bytes int) {
	switch total := s.uncommitted.Add(int64(bytes)); {
	case total >= mostUncommitted:
		s.askCommit()
	case total >= someUncommitted && !s.committing.Swap(true):
		time.AfterFunc(commitSoon, s.askCommit)
	}
}

func (s *Store) askCommit() {
	s.uncommitted.Store(0)
	s.committing.Store(false)
	select {
	case s.commit <- struct{}{}:
	default: // one is due already
	}
}

// commitForever commits when there is much to commit; etcd itself counts writes, not bytes.
func (s *Store) commitForever(ctx context.Context, m *member) {
	for {
		select {
		case <-s.commit:
			m.server.Backend().ForceCommit()
		case <-ctx.Done():
			return
		}
	}
}
