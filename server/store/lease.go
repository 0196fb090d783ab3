package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Objects that expire share etcd leases: one a minute of expiry, and no more than leaseObjects on one, because all
// objects of a lease are deleted in one transaction.
const (
	leaseGranularity = time.Minute
	leaseObjects     = 500
)

// leases remembers the lease of each minute that still takes objects.
type leases struct {
	mu      sync.Mutex
	buckets map[time.Duration]*bucket // by TTL, rounded up
}

type bucket struct {
	id    int64
	until time.Time // takes objects until then
	used  int
}

func (l *leases) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets = map[time.Duration]*bucket{}
}

// leaseFor returns a lease that ends between ttl and ttl plus one granule from now; 0 for a ttl of 0.
func (s *Store) leaseFor(ctx context.Context, ttl time.Duration) (int64, error) {
	if ttl <= 0 {
		return 0, nil
	}
	m := s.member.Load()
	if m == nil {
		return 0, fmt.Errorf("etcd is not serving: %w", ErrUnavailable)
	}
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	granule := min(leaseGranularity, ttl)
	b := s.lease.buckets[ttl]
	if b == nil || b.used >= leaseObjects || time.Now().After(b.until) {
		seconds := int64((ttl + granule + time.Second - 1) / time.Second)
		granted, err := m.server.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: seconds})
		if err != nil {
			return 0, fmt.Errorf("lease of %ds: %w: %w", seconds, ErrUnavailable, err) // one too many does no harm
		}
		b = &bucket{id: granted.ID, until: time.Now().Add(granule)}
		s.lease.buckets[ttl] = b
	}
	b.used++
	return b.id, nil
}
