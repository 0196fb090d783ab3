package store

// ring holds the newest events of one kind, oldest first, so that most watches resume without asking etcd. It is bounded
// in number and in bytes: the states it keeps alive must not be what fills the memory.
// Invariant: it holds every event of its kind after floor.
type ring struct {
	events []record
	limit  int
	bytes  int // of the states, as etcd has them
	floor  int64
}

// ringBytes is how many bytes of states a ring keeps alive, as etcd has them; decoded they take a few times as much.
const ringBytes = 16 << 20

// record is an event without its memo, so that the ring does not keep encoded bytes alive.
type record = Event

func newRing(limit int, floor int64) *ring { return &ring{limit: limit, floor: floor} }

func (r *ring) add(e *Event) {
	r.events = append(r.events, record{Type: e.Type, Kind: e.Kind, Object: e.Object, Old: e.Old, Revision: e.Revision, size: e.size})
	r.bytes += e.size
	for len(r.events) > r.limit || r.bytes > ringBytes && len(r.events) > 1 {
		r.floor = r.events[0].Revision
		r.bytes -= r.events[0].size
		r.events[0] = record{}
		r.events = r.events[1:]
	}
}

func (r *ring) at(i int) *record { return &r.events[i] }

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
	r.events, r.bytes, r.floor = keep, 0, max(r.floor, rev)
	for i := range keep {
		r.bytes += keep[i].size
	}
}
