package store

// ring holds the newest events of one kind, oldest first, so that most watches resume without asking etcd.
// Invariant: it holds every event of its kind after floor.
type ring struct {
	events []record
	start  int // of the oldest, once events is full
	limit  int
	floor  int64
}

// record is an event without its memo, so that the ring does not keep encoded bytes alive.
type record = Event

func newRing(limit int, floor int64) *ring { return &ring{limit: limit, floor: floor} }

func (r *ring) add(e *Event) {
	rec := record{Type: e.Type, Kind: e.Kind, Object: e.Object, Old: e.Old, Revision: e.Revision}
	if len(r.events) < r.limit {
		r.events = append(r.events, rec)
		return
	}
	r.floor = r.events[r.start].Revision
	r.events[r.start] = rec
	r.start = (r.start + 1) % r.limit
}

func (r *ring) at(i int) *record { return &r.events[(r.start+i)%len(r.events)] }

// after returns the events after rev, oldest first; ok is false if some of them are gone.
func (r *ring) after(rev int64) (events []*Event, ok bool) {
	if rev < r.floor {
		return nil, false
	}
	first := len(r.events)
	for first > 0 && r.at(first-1).Revision > rev {
		first--
	}
	for i := first; i < len(r.events); i++ {
		events = append(events, r.at(i).fresh())
	}
	return events, true
}

// trim drops the events up to rev, and with them the old objects that only the ring still holds.
func (r *ring) trim(rev int64) {
	keep := make([]record, 0, len(r.events))
	for i := range r.events {
		if e := r.at(i); e.Revision > rev {
			keep = append(keep, *e)
		}
	}
	r.events, r.start, r.floor = keep, 0, max(r.floor, rev)
}
