package store

import (
	"context"
	"encoding/json"
	"expvar"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"
)

// campaign makes a lone member stand for election now. Raft refuses until the member has applied its own addition to
// the cluster, so this is said until there is a leader.
//
// It must not be said before raft knows that all that is committed has been applied: standing for election, raft looks for a change of members
// among the entries that it takes for unapplied, and it panics when etcd, which applies them on another goroutine and is ahead of it, has
// removed the first of them from memory already. That needs some hundred entries since the last snapshot, and a busy machine.
func (m *member) campaign(ctx context.Context) {
	if m.server.Lead() != 0 || len(m.server.Cluster().Members()) != 1 {
		return
	}
	id := uint64(m.server.MemberID())
	if s, ok := raftStatus(); !ok || s.ID != strconv.FormatUint(id, 16) || s.Applied < s.Commit {
		return
	}
	_ = m.server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id})
}

// raftState is what raft itself says of where it is.
type raftState struct {
	ID              string
	Commit, Applied uint64
}

// raftStatus asks the raft of the etcd that was started last in this process. etcd shows this as a variable of the process only.
func raftStatus() (s raftState, ok bool) {
	v := expvar.Get("raft.status")
	if v == nil {
		return s, false
	}
	err := json.Unmarshal([]byte(v.String()), &s)
	return s, err == nil && s.ID != ""
}
