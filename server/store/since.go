package store

import "codeberg.org/skiff/skiff/server/api"

// Since returns the newest snapshot and every event of the kinds that leads to it from revision rev, oldest first within
// each kind: for those who keep a sum and would rather follow than add up anew. ok is false if the cache does not
// remember all of them, or not hold all kinds yet; the snapshot is good in any case. It reads nothing from etcd.
func (s *Store) Since(rev int64, kinds []*api.Kind) (snap *Snapshot, events []*Event, ok bool) {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	snap = c.snapshot()
	for _, k := range kinds {
		r := c.rings[k]
		if r == nil || !snap.layout.has(k) {
			return snap, nil, false
		}
		newer, known := r.after(rev)
		if !known {
			return snap, nil, false
		}
		events = append(events, newer...)
	}
	return snap, events, true
}
