package store

import "context"

// mostUncommitted is how many bytes of values may have been written since the last commit of etcd's backend. Until then etcd has them in
// memory, twice; a thousand large objects would be more than a gigabyte.
const mostUncommitted = 16 << 20

// written counts bytes of values on their way into the backend, and asks for a commit when they are many. It is the applier's.
func (s *Store) written(bytes int) {
	if s.uncommitted += bytes; s.uncommitted < mostUncommitted {
		return
	}
	s.uncommitted = 0
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
