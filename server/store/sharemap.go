package store

import (
	"hash/maphash"
	"maps"
)

const (
	// sharedMaps is how many maps one generation remembers; as with trees, there are two.
	sharedMaps = 1024
	// sharedMapBytes is how much text a map may have that is remembered.
	sharedMapBytes = 1 << 10
)

// labelMaps lets objects hold equal labels, and equal annotations, once: a Go map of one entry takes 340 bytes, and all pods of a
// template have the same labels. Only the applier uses it.
type labelMaps struct{ young, old map[uint64]map[string]string }

// share returns m or an equal map that others hold.
func (l *labelMaps) share(m map[string]string) map[string]string {
	if len(m) == 0 {
		return m
	}
	hash, size := uint64(len(m)), 0
	for key, value := range m {
		hash += mix(maphash.String(treeSeed, key) ^ maphash.String(treeSeed, value)*31) // in whatever order
		size += len(key) + len(value)
	}
	if size > sharedMapBytes {
		return m
	}
	if have, ok := l.young[hash]; ok && maps.Equal(have, m) {
		return have
	}
	if have, ok := l.old[hash]; ok && maps.Equal(have, m) {
		m = have
	}
	if l.young == nil || len(l.young) >= sharedMaps {
		l.young, l.old = map[uint64]map[string]string{}, l.young
	}
	l.young[hash] = m
	return m
}
