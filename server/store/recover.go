package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/cindex"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// revisionBump is added to the newest revision of a database that is gone on from, as etcdutl is told to: clients may have seen revisions that are
// lost, and would take new objects for old ones. Everything before counts as compacted, so that they list again.
const revisionBump = 1_000_000_000

// setAside renames a file or folder of etcd's, which is never removed.
func setAside(path string, now time.Time) (string, error) {
	to := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	return to, errors.Join(os.Rename(path, to), syncDir(filepath.Dir(path)))
}

// fromDatabase makes a member of the database alone: a log that begins with the member itself, and the objects as they were at the database's last
// commit. What was there is kept beside it.
func fromDatabase(cfg Config, now time.Time) (kept string, err error) {
	if d, err := inspectDatabase(databasePath(cfg.Dir), true); err != nil {
		return "", err
	} else if d.problem != "" {
		return "", fmt.Errorf("--recover: the database cannot be gone on from: %s; restore a backup", d.problem)
	}
	work := filepath.Join(cfg.Dir, ".recovery")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := buildMember(cfg, work); err != nil {
		return "", fmt.Errorf("--recover: %w", err)
	}
	member := filepath.Join(cfg.Dir, "member")
	if kept, err = setAside(member, now); err != nil {
		return "", err
	}
	if err := errors.Join(os.Rename(filepath.Join(work, "member"), member), syncDir(cfg.Dir)); err != nil {
		return "", err
	}
	return kept, ignoreMissing(os.Remove(filepath.Join(cfg.Dir, noteFile))) // the new log begins at 1
}

func buildMember(cfg Config, dir string) error {
	ec, err := etcdConfig(cfg, nil)
	if err != nil {
		return err
	}
	peers, err := types.NewURLsMap(ec.InitialCluster)
	if err != nil {
		return err
	}
	log := zap.NewNop()
	cluster, err := membership.NewClusterFromURLsMap(log, ec.InitialClusterToken, peers)
	if err != nil {
		return err
	}
	path := databasePath(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := copyFile(databasePath(cfg.Dir), path); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	be := backend.NewDefaultBackend(log, path)
	defer be.Close()
	members := schema.NewMembershipBackend(log, be)
	if err := members.TrimMembershipFromBackend(); err != nil {
		return fmt.Errorf("take the old members out: %w", err)
	}
	cluster.SetBackend(members)
	for _, m := range cluster.Members() {
		cluster.AddMember(m, true)
	}
	if err := bumpRevision(be); err != nil {
		return err
	}
	commit, term, err := writeLog(log, dir, cluster, cluster.MemberByName(cfg.Name))
	if err != nil {
		return fmt.Errorf("write a new log: %w", err)
	}
	cindex.UpdateConsistentIndexForce(be.BatchTx(), commit, term)
	be.ForceCommit()
	return nil
}

func bumpRevision(be backend.Backend) error {
	tx := be.BatchTx()
	tx.LockOutsideApply()
	defer tx.Unlock()
	var latest mvcc.Revision
	err := tx.UnsafeForEach(schema.Key, func(k, _ []byte) error {
		if rev := mvcc.BytesToRev(k); rev.GreaterThan(latest) {
			latest = rev
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("find the newest revision: %w", err)
	}
	latest.Main, latest.Sub = latest.Main+revisionBump, 0
	tx.UnsafePut(schema.Key, mvcc.RevToBytes(latest, mvcc.NewRevBytes()), []byte{})
	mvcc.UnsafeSetScheduledCompact(tx, latest.Main)
	return nil
}

// writeLog writes a log whose only entry adds the member, and the snapshot that belongs to it.
func writeLog(log *zap.Logger, dir string, cluster *membership.RaftCluster, m *membership.Member) (commit, term uint64, err error) {
	metadata, err := proto.Marshal(&pb.Metadata{NodeID: new(uint64(m.ID)), ClusterID: new(uint64(cluster.ID()))})
	if err != nil {
		return 0, 0, err
	}
	w, err := wal.Create(log, walDir(dir), metadata)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	describe, err := json.Marshal(m)
	if err != nil {
		return 0, 0, err
	}
	change, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(uint64(m.ID)), Context: describe})
	if err != nil {
		return 0, 0, err
	}
	commit, term = 1, 1
	entry := &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Term: &term, Index: &commit, Data: change}
	if err := w.Save(&raftpb.HardState{Term: &term, Vote: new(uint64(m.ID)), Commit: &commit}, []*raftpb.Entry{entry}); err != nil {
		return 0, 0, err
	}
	voters := &raftpb.ConfState{Voters: []uint64{uint64(m.ID)}}
	err = snap.New(log, filepath.Dir(databasePath(dir))).SaveSnap(&raftpb.Snapshot{
		Data:     etcdserver.GetMembershipInfoInV2Format(log, cluster),
		Metadata: &raftpb.SnapshotMetadata{Index: &commit, Term: &term, ConfState: voters},
	})
	if err != nil {
		return 0, 0, err
	}
	return commit, term, w.SaveSnapshot(&walpb.Snapshot{Index: &commit, Term: &term, ConfState: voters})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
