package store

import (
	"sync"

	"codeberg.org/skiff/skiff/server/api"
)

// EventType says what happened to a key.
type EventType string

const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	// Bookmark carries a revision and no object: everything up to it was seen.
	Bookmark EventType = "BOOKMARK"
)

// Event is one change of one object. It is shared between watchers.
type Event struct {
	Type EventType
	Kind *api.Kind
	// Object is the state after the change; for Deleted the last state, with the deletion's revision as its
	// resourceVersion. Nil for Bookmark.
	Object api.Object
	// Old is the state before; nil for Added.
	Old      api.Object
	Revision int64

	// size of the state in etcd; 0 for a deletion.
	size int
	// memo is what the watchers of this event share; nil for an event that the store did not make.
	memo *memo
}

// memo keeps what an event was encoded to. It lives as long as the slowest watcher holds the event; the ring keeps
// events without it.
type memo struct {
	mu      sync.Mutex
	encoded []encoding
	as      map[EventType]*Event
	gone    *Event
}

type encoding struct {
	mediaType string
	bytes     []byte
	err       error
}

func newEvent(t EventType, k *api.Kind, obj, old api.Object, rev int64) *Event {
	return &Event{Type: t, Kind: k, Object: obj, Old: old, Revision: rev, memo: &memo{}}
}

// fresh is the same event with an empty memo.
func (e *Event) fresh() *Event { return newEvent(e.Type, e.Kind, e.Object, e.Old, e.Revision) }

// Encoded returns the bytes of this event for a media type, made by encode the first time anybody asks. The bytes
// are shared: never change them.
func (e *Event) Encoded(mediaType string, encode func() ([]byte, error)) ([]byte, error) {
	if e.memo == nil {
		return encode()
	}
	e.memo.mu.Lock()
	defer e.memo.mu.Unlock()
	for i := range e.memo.encoded {
		if e.memo.encoded[i].mediaType == mediaType {
			return e.memo.encoded[i].bytes, e.memo.encoded[i].err
		}
	}
	bytes, err := encode()
	e.memo.encoded = append(e.memo.encoded, encoding{mediaType, bytes, err})
	return bytes, err
}

// Gone returns the event as a Deleted one, with the last state and this event's revision, for watchers whose selector has
// let go of the object. All who ask share the answer.
func (e *Event) Gone() *Event {
	made := func() *Event {
		return newEvent(Deleted, e.Kind, withRevision(e.Old, revisionString(e.Revision)), e.Old, e.Revision)
	}
	if e.memo == nil {
		return made()
	}
	e.memo.mu.Lock()
	defer e.memo.mu.Unlock()
	if e.memo.gone == nil {
		e.memo.gone = made()
	}
	return e.memo.gone
}

// As returns the event with another type, for watchers to which a selector makes it look different. All who ask for
// the same type share the answer, and so its encoding.
func (e *Event) As(t EventType) *Event {
	if t == e.Type {
		return e
	}
	if e.memo == nil {
		return newEvent(t, e.Kind, e.Object, e.Old, e.Revision)
	}
	e.memo.mu.Lock()
	defer e.memo.mu.Unlock()
	if other, ok := e.memo.as[t]; ok {
		return other
	}
	if e.memo.as == nil {
		e.memo.as = map[EventType]*Event{}
	}
	other := newEvent(t, e.Kind, e.Object, e.Old, e.Revision)
	e.memo.as[t] = other
	return other
}
