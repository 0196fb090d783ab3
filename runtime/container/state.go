package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The files of doc.go's table. sandboxFile is written once per change of a sandbox, a container's once per change of it.

func (m *Manager) stateDir(id string) string { return filepath.Join(m.cfg.StateDir, "sandboxes", id) }
func (m *Manager) runDir(id string) string   { return filepath.Join(m.cfg.RunDir, "sandboxes", id) }
func (m *Manager) netnsPath(id string) string {
	return filepath.Join(m.runDir(id), "netns")
}
func (m *Manager) shmPath(id string) string { return filepath.Join(m.runDir(id), "shm") }
func (m *Manager) factoryRoot() string      { return filepath.Join(m.cfg.RunDir, "libcontainer") }
func (m *Manager) containerFile(sandboxID, id string) string {
	return filepath.Join(m.stateDir(sandboxID), "containers", id+".json")
}
func (m *Manager) sandboxFile(id string) string { return filepath.Join(m.stateDir(id), "sandbox.json") }

// sandboxCopy is a second copy of sandbox.json, in memory: while containers run it is there, so what they are is known even
// when the record on disk is damaged.
func (m *Manager) sandboxCopy(id string) string { return filepath.Join(m.runDir(id), "sandbox.json") }

// sandboxRecord is sandbox.json.
type sandboxRecord struct {
	Spec      SandboxSpec
	CreatedAt time.Time
	Stopped   bool
	Users     *Users `json:",omitempty"`
}

// writeFile writes by rename. With sync the content is on disk before the name is: for what must survive a power cut.
func writeFile(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, path)
}

func (m *Manager) saveSandbox(s *sandbox) error {
	m.mu.Lock()
	r := sandboxRecord{Spec: s.info.Spec, CreatedAt: s.info.CreatedAt, Stopped: s.info.State == SandboxStopped, Users: s.info.Users}
	m.mu.Unlock()
	err := writeFile(m.sandboxFile(r.Spec.ID), r, true)
	if err == nil && exists(m.runDir(r.Spec.ID)) {
		err = writeFile(m.sandboxCopy(r.Spec.ID), r, false)
	}
	if err != nil {
		return fmt.Errorf("record sandbox %s: %w", r.Spec.ID, err)
	}
	return nil
}

// saveContainer does not sync: after a power cut no container runs, and a record that is then empty or old is handled
// like any damaged or unfinished one.
func (m *Manager) saveContainer(c *container) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	m.mu.Lock()
	info := c.info
	gone := c.removed
	m.mu.Unlock()
	if gone {
		return nil
	}
	if err := writeFile(m.containerFile(info.SandboxID, info.Spec.ID), info, false); err != nil {
		return fmt.Errorf("record container %s: %w", info.Spec.ID, err)
	}
	return nil
}

// loaded is what is on disk of one sandbox. damaged says that neither copy of its record can be read, so that it does not
// run; the ids of containers are known even then, for cleaning up.
type loaded struct {
	id         string
	record     sandboxRecord
	containers []Container
	lost       []string // containers whose file is damaged
	damaged    error
}

func setAside(path string) { _ = os.Rename(path, path+".damaged") }

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func readRecord(path, id string, r *sandboxRecord) error {
	if err := readJSON(path, r); err != nil {
		return err
	}
	if r.Spec.ID != id {
		return fmt.Errorf("record names sandbox %q", r.Spec.ID)
	}
	return nil
}

func (m *Manager) load(id string) loaded {
	l := loaded{id: id}
	err := readRecord(m.sandboxFile(id), id, &l.record)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		setAside(m.sandboxFile(id))
		m.log.Warn("a sandbox's record is damaged and set aside", "sandbox", id, "error", err)
	}
	if err != nil {
		if readRecord(m.sandboxCopy(id), id, &l.record) == nil {
			err = writeFile(m.sandboxFile(id), l.record, true)
		}
	}
	l.damaged = err
	entries, _ := os.ReadDir(filepath.Join(m.stateDir(id), "containers"))
	for _, e := range entries {
		cid, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		var c Container
		path := m.containerFile(id, cid)
		if err := readJSON(path, &c); err != nil || c.Spec.ID != cid {
			m.log.Warn("a container's record is damaged and set aside", "container", cid, "sandbox", id, "error", err)
			setAside(path)
			l.lost = append(l.lost, cid)
			continue
		}
		c.SandboxID = id
		l.containers = append(l.containers, c)
	}
	return l
}
