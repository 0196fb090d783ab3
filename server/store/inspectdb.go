package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// errInUse: another process has etcd's files open.
var errInUse = errors.New("another process has it open; is a second skiff running on the same data?")

// inspectDatabase opens the database for reading. deep looks at every page of it; otherwise only at the first ones and at its length.
func inspectDatabase(path string, deep bool) (d dbFound, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	d.exists = true
	if err != nil {
		d.problem = fmt.Sprintf("%s cannot be read: %v", path, err)
		return d, nil
	}
	d.written = st.ModTime()
	err = readDatabase(path, st.Size(), deep, &d)
	if errors.Is(err, bbolt.ErrTimeout) {
		return d, fmt.Errorf("%s: %w", path, errInUse)
	}
	if err != nil {
		d.problem = fmt.Sprintf("%s is damaged: %v", path, err)
	}
	return d, nil
}

func readDatabase(path string, size int64, deep bool, d *dbFound) (err error) {
	// The file is mapped: what is missing of it is a fault of memory, and what is wrong in it a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if size == 0 {
		return errors.New("it is empty")
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > size {
			return fmt.Errorf("it is cut off: %d bytes of %d are there", size, tx.Size())
		}
		if deep {
			if err := checkPages(tx); err != nil {
				return err
			}
		}
		if meta := tx.Bucket([]byte("meta")); meta != nil {
			if v := meta.Get([]byte("consistent_index")); len(v) == 8 {
				d.index = binary.BigEndian.Uint64(v)
			}
		}
		if keys := tx.Bucket([]byte("key")); keys != nil {
			if k, _ := keys.Cursor().Last(); len(k) >= 8 {
				d.revision = mvcc.BytesToRev(k).Main
			}
		}
		return nil
	})
}

// checkPages reads every key and value. bbolt's own check is of no use here: it begins with the free pages, and panics over them on a goroutine of its own.
func checkPages(tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		var last []byte
		return b.ForEach(func(k, _ []byte) error {
			if bytes.Compare(k, last) <= 0 && last != nil {
				return fmt.Errorf("keys of bucket %s are out of order", name)
			}
			last = append(last[:0], k...)
			return nil
		})
	})
}
