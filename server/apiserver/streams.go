package apiserver

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// streams counts watches and other requests that last: by user, who may have only so many, and by kind, since every
// write makes work for those who watch.
type streams struct {
	limit int

	mu     sync.RWMutex
	byUser map[string]int
	byKind map[schema.GroupResource]int
}

func newStreams(limit int) *streams {
	return &streams{limit: limit, byUser: map[string]int{}, byKind: map[schema.GroupResource]int{}}
}

// open takes one of the user's streams; false when all are taken.
func (s *streams) open(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser[user] >= s.limit {
		return false
	}
	s.byUser[user]++
	return true
}

func (s *streams) close(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser[user]--; s.byUser[user] <= 0 {
		delete(s.byUser, user)
	}
}

// watch counts a watch of a kind, +1 or -1.
func (s *streams) watch(k *api.Kind, delta int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gr := k.GroupResource()
	if s.byKind[gr] += delta; s.byKind[gr] <= 0 {
		delete(s.byKind, gr)
	}
}

func (s *streams) watching(group, plural string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byKind[schema.GroupResource{Group: group, Resource: plural}]
}
