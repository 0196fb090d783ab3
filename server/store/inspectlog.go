package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// inspectLog reads the log from the first file to the last, as etcd does at every start.
func inspectLog(dir string) (l logFound) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.wal"))
	slices.Sort(files) // by sequence number
	var r logReader
	for i, path := range files {
		if err := r.file(path, i == len(files)-1); err != nil {
			r.problem = fmt.Sprintf("%s %v", path, err)
			break
		}
	}
	r.files = len(files)
	if r.problem == "" && r.files > 0 && !r.metadata {
		r.problem = files[0] + " does not say whose log it is"
	}
	for _, s := range r.snapshots {
		if s <= r.commit {
			r.snapshot = max(r.snapshot, s)
		}
	}
	return r.logFound
}

type logReader struct {
	logFound
	crc       uint32
	seq       uint64
	begun     bool
	metadata  bool
	commit    uint64
	snapshots []uint64
}

// file reads one file of the log. An error says what is wrong with it.
func (r *logReader) file(path string, last bool) (err error) {
	defer func() {
		if p := recover(); p != nil { // etcd's decoding panics over what it does not know
			err = fmt.Errorf("is damaged: %v", p)
		}
	}()
	if err := r.sequence(path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	decoder := wal.NewDecoder(fileutil.NewFileReader(f))
	rec := &walpb.Record{}
	records := 0
	for ; ; records++ {
		if err = decoder.Decode(rec); err != nil {
			break
		}
		if err := r.record(rec, decoder, records == 0); err != nil {
			return err
		}
	}
	r.crc = decoder.LastCRC()
	switch {
	case records == 0:
		return errors.New("is empty or holds nothing but zeros")
	case errors.Is(err, io.EOF):
		return nil
	case last && errors.Is(err, io.ErrUnexpectedEOF):
		r.torn = path
		return nil
	}
	return fmt.Errorf("is damaged: %w", err)
}

// sequence checks that no file is missing between this one and the one before.
func (r *logReader) sequence(path string) error {
	var seq, index uint64
	if _, err := fmt.Sscanf(filepath.Base(path), "%016x-%016x.wal", &seq, &index); err != nil {
		return errors.New("has a name that is none of etcd's")
	}
	if r.begun && seq != r.seq+1 {
		return fmt.Errorf("follows upon file %016x: what lay between is missing", r.seq)
	}
	r.seq, r.begun = seq, true
	return nil
}

func (r *logReader) record(rec *walpb.Record, decoder wal.Decoder, opening bool) error {
	switch rec.GetType() {
	case wal.CrcType:
		if r.crc != 0 && opening && rec.GetCrc() != r.crc {
			return errors.New("does not go on where the file before it ends: something is missing in between")
		}
		decoder.UpdateCRC(rec.GetCrc())
	case wal.MetadataType:
		r.metadata = true
	case wal.EntryType:
		var e raftpb.Entry
		if err := proto.Unmarshal(rec.Data, &e); err != nil {
			return fmt.Errorf("is damaged: %w", err)
		}
		return r.entry(e.GetIndex())
	case wal.StateType:
		var s raftpb.HardState
		if err := proto.Unmarshal(rec.Data, &s); err != nil {
			return fmt.Errorf("is damaged: %w", err)
		}
		r.commit = s.GetCommit()
	case wal.SnapshotType:
		var s walpb.Snapshot
		if err := proto.Unmarshal(rec.Data, &s); err != nil {
			return fmt.Errorf("is damaged: %w", err)
		}
		r.snapshots = append(r.snapshots, s.GetIndex())
	}
	return nil
}

func (r *logReader) entry(index uint64) error {
	if r.last != 0 && index > r.last+1 {
		return fmt.Errorf("is damaged: entry %d follows upon entry %d", index, r.last)
	}
	if r.first == 0 {
		r.first = index
	}
	r.last = index
	return nil
}
