package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// found is what lies on the disk before etcd is opened. It is looked at first because etcd itself begins anew when its log is gone, follows a
// nil pointer when the log is empty, skips a zeroed file of it without a word, and is killed by a signal when its database is cut off.
type found struct {
	dir, mark string
	// first: a first start was cut off; nothing was acknowledged. marked: there were data once.
	first, marked bool
	// member is the folder of log and database; aside are older ones that stand beside it.
	member bool
	aside  []string
	// known is the last raft index that the log had for certain at some time; 0 when nobody noted it.
	known uint64
	log   logFound
	db    dbFound
}

// logFound is etcd's write-ahead log.
type logFound struct {
	// files of the log; problem is why it cannot be read, with the file's path. torn: its last record was not written to the end.
	files   int
	problem string
	torn    string
	// first and last raft index of its entries; snapshot is the index at which etcd begins to read it.
	first, last, snapshot uint64
}

// dbFound is etcd's database, which is always somewhat behind the log.
type dbFound struct {
	exists  bool
	problem string
	// index is the last raft entry that is in it, revision the newest of the objects in it.
	index    uint64
	revision int64
	written  time.Time
}

// usable: etcd can begin to read here.
func (l logFound) usable() bool { return l.files > 0 && l.problem == "" }

func (d dbFound) usable() bool { return d.exists && d.problem == "" && d.index > 0 }

// inspect looks at the files and changes none. deep walks through the whole database.
func inspect(cfg Config, deep bool) (found, error) {
	f := found{dir: cfg.Dir, mark: cfg.mark()}
	f.first = exists(filepath.Join(cfg.Dir, firstStart))
	f.marked = exists(f.mark)
	f.member = exists(filepath.Join(cfg.Dir, "member"))
	f.aside, _ = filepath.Glob(filepath.Join(cfg.Dir, "member.*"))
	f.known = readNote(cfg.Dir).Index
	if f.first || !f.member {
		return f, nil
	}
	f.log = inspectLog(walDir(cfg.Dir))
	var err error
	f.db, err = inspectDatabase(databasePath(cfg.Dir), deep)
	return f, err
}

func walDir(dir string) string { return filepath.Join(dir, "member", "wal") }

func databasePath(dir string) string { return filepath.Join(dir, "member", "snap", "db") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// note is what the store writes down beside etcd's files, so that a log that ends too early is noticed: a lower bound of what it must hold.
type note struct {
	Index    uint64 `json:"index"`
	Revision int64  `json:"revision"`
}

// noteFile lies in etcd's folder, so that it is saved and restored along with the log.
const noteFile = "written.json"

func readNote(dir string) (n note) {
	data, err := os.ReadFile(filepath.Join(dir, noteFile))
	if err != nil || json.Unmarshal(data, &n) != nil {
		return note{}
	}
	return n
}

func writeNote(dir string, n note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(dir, noteFile), append(data, '\n'))
}

// writeDurably leaves the old content or the new after a power cut.
func writeDurably(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), path), syncDir(filepath.Dir(path)))
}
