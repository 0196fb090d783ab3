package store

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// A compaction rewrites a dozen pages of etcd's backend, so a history that is short may get older: idle clusters write a few leases only.
const (
	worthCompacting = 100
	longestHistory  = time.Hour
)

// compactForever throws away etcd's history older than one to two intervals, or than an hour if there is little of it.
func (s *Store) compactForever(ctx context.Context, m *member) {
	tick := time.NewTicker(s.cfg.CompactionInterval)
	defer tick.Stop()
	var compacted, before int64
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.held.purge(time.Now())
		if before >= compacted+worthCompacting || before > compacted && time.Since(last) >= longestHistory {
			if err := s.compact(ctx, m, before); err != nil {
				s.log.Warn("etcd's history was not compacted", "revision", before, "error", err)
			} else {
				compacted, last = before, time.Now()
				s.noteWritten(m)
			}
		}
		before = s.Snapshot().Revision()
	}
}

func (s *Store) compact(ctx context.Context, m *member, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := m.server.Compact(ctx, &pb.CompactionRequest{Revision: rev})
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) { // another member was first
		return err
	}
	s.cache.trim(rev)
	s.held.forget(rev)
	return nil
}

// Compact throws away the history before rev, now.
func (s *Store) Compact(ctx context.Context, rev int64) error {
	m := s.member.Load()
	if m == nil {
		return ErrUnavailable
	}
	return s.compact(ctx, m, rev)
}
