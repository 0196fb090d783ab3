package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// firstStart is a file that stands while a member without data starts for the first time. A power cut meanwhile can leave a log without the
	// member's own entry, with which etcd would wait for a leader for ever; nothing has been acknowledged yet, so it begins anew.
	firstStart = ".first-start"
	// opening stands from before etcd opens its files until it serves. Whoever finds it looks at every page of the database first: what etcd does
	// not look at can still end the process.
	opening = ".opening"
	// begun is the mark in Dir when Config has none.
	begun = ".begun"
)

func (c Config) mark() string {
	if c.Mark != "" {
		return c.Mark
	}
	return filepath.Join(c.Dir, begun)
}

// prepare looks at what etcd would find and brings it into a state that etcd can open, or says why not.
func prepare(cfg Config) (action, error) {
	f, err := inspect(cfg, exists(filepath.Join(cfg.Dir, opening)))
	if err != nil {
		return 0, err
	}
	act, err := judge(f, cfg.Recover)
	if err != nil {
		return 0, err
	}
	if f.log.torn != "" {
		cfg.Log.Info("etcd's log ends in a record that was not written to the end, as a power cut leaves it; that record is dropped", "file", f.log.torn)
	}
	switch act {
	case beginAnew:
		err = beginFirstStart(cfg.Dir)
	case rebuildFromLog:
		err = dropDatabase(cfg, f)
	case rebuildFromDatabase:
		var kept string
		if kept, err = fromDatabase(cfg, time.Now()); err == nil {
			cfg.Log.Warn("etcd goes on from its database alone", "reason", logProblem(f), "lost", lostWithoutLog(f), "kept", kept)
		}
	case openAsItIs:
		if cfg.Recover {
			cfg.Log.Warn("etcd goes on with a log that ends too early", "reason", logProblem(f))
			err = ignoreMissing(os.Remove(filepath.Join(cfg.Dir, noteFile)))
		}
	}
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, opening), nil, 0o600); err != nil { // no room: then there is one check less
		cfg.Log.Debug("the opening of etcd's files is not marked", "error", err)
	}
	return act, nil
}

// beginFirstStart removes what an interrupted first start left.
func beginFirstStart(dir string) error {
	mark := filepath.Join(dir, firstStart)
	if exists(mark) {
		if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
			return fmt.Errorf("remove what an interrupted first start left: %w", err)
		}
		return nil
	}
	f, err := os.Create(mark)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(dir))
}

// dropDatabase puts a damaged database aside: etcd builds it again from the log.
func dropDatabase(cfg Config, f found) error {
	kept := ""
	if f.db.exists {
		var err error
		if kept, err = setAside(databasePath(cfg.Dir), time.Now()); err != nil {
			return err
		}
	}
	cfg.Log.Warn("etcd's database is built again from the log, which holds everything from the first entry on; nothing is lost", "reason", databaseProblem(f), "kept", kept)
	return nil
}

// opened is said once etcd serves. The mark comes before the end of the first start: it must not be missing while there are acknowledged writes. The end
// is durable: if a first start came back after a power cut, these would be thrown away.
func opened(cfg Config) error {
	if !exists(cfg.mark()) {
		text := "There is data of a cluster in " + cfg.Dir + ". While this file stands, skiff takes an empty folder there for a loss and no first start.\n"
		if err := writeDurably(cfg.mark(), []byte(text)); err != nil {
			return err
		}
	}
	err := ignoreMissing(os.Remove(filepath.Join(cfg.Dir, opening)))
	if first := filepath.Join(cfg.Dir, firstStart); exists(first) {
		err = errors.Join(err, os.Remove(first), syncDir(cfg.Dir))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// noteWritten writes down how far the log has come.
func (s *Store) noteWritten(m *member) {
	err := writeNote(s.cfg.Dir, note{Index: m.server.AppliedIndex(), Revision: s.Snapshot().Revision()})
	if err != nil {
		s.log.Debug("how far the log has come was not noted", "error", err)
	}
}
