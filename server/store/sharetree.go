package store

import (
	"hash/maphash"
	"unsafe"
)

// sharedNodes is how many texts, lists and maps of custom objects one generation remembers. There are two generations:
// what is not met again while a new one fills is forgotten.
const sharedNodes = 4096

// treeSeed makes the hashes of this process, so that nobody outside can choose parts that clash.
var treeSeed = maphash.MakeSeed()

// trees lets custom objects, which are maps in maps, hold equal parts once. A map of two entries takes 360 bytes, and most
// objects of a kind have most of their parts in common: labels, defaults, and above all what says who manages which fields.
// It works bottom up, so that two maps are equal if their members are the same ones. Only the applier uses it.
type trees struct {
	young, old map[uint64]any
	texts      [2]map[string]any // boxed, so that the header of the string is shared too
}

// share returns v or something equal that others hold, and a hash of it. It changes the maps and lists in v.
func (t *trees) share(v any) (any, uint64) {
	switch v := v.(type) {
	case string:
		return t.text(v), maphash.String(treeSeed, v)
	case map[string]any:
		hash := uint64(len(v)) * 0x9e3779b97f4a7c15
		for key, value := range v {
			shared, h := t.share(value)
			// Assigning replaces the key too, which is as long-lived as the value.
			v[t.text(key).(string)] = shared
			hash += mix(maphash.String(treeSeed, key) ^ h*31)
		}
		return t.node(v, mix(hash)), mix(hash)
	case []any:
		hash := uint64(len(v)) + 1
		for i := range v {
			shared, h := t.share(v[i])
			v[i] = shared
			hash = mix(hash*31 + h)
		}
		return t.node(v, hash), hash
	case int64:
		return v, mix(uint64(v) + 2)
	case bool:
		if v {
			return v, 3
		}
		return v, 4
	case float64:
		return v, maphash.Comparable(treeSeed, v)
	}
	return v, 5
}

func mix(h uint64) uint64 {
	h ^= h >> 31
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>29
}

// text returns an equal string in an interface. Long ones are seldom equal.
func (t *trees) text(s string) any {
	if len(s) > 128 {
		return s
	}
	if have, ok := t.texts[0][s]; ok {
		return have
	}
	have, ok := t.texts[1][s]
	if !ok {
		have = s
	}
	if t.texts[0] == nil || len(t.texts[0]) >= sharedNodes {
		t.texts[0], t.texts[1] = map[string]any{}, t.texts[0]
	}
	t.texts[0][s] = have
	return have
}

// node returns the list or map that was seen before with the same members.
func (t *trees) node(v any, hash uint64) any {
	if have, ok := t.young[hash]; ok && sameNode(v, have) {
		return have
	}
	if have, ok := t.old[hash]; ok && sameNode(v, have) {
		v = have
	}
	if t.young == nil || len(t.young) >= sharedNodes {
		t.young, t.old = map[uint64]any{}, t.young
	}
	t.young[hash] = v
	return v
}

func sameNode(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			if other, ok := b[key]; !ok || !sameMember(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameMember(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return false
}

// sameMember: scalars are equal, lists and maps are the same one.
func sameMember(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
	case []any:
		b, ok := b.([]any)
		return ok && len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
	case nil:
		return b == nil
	case string, int64, float64, bool:
		return a == b
	}
	return false
}
