package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

// unknownExit is the exit code of a container of which nobody saw the end.
const unknownExit = 255

// reopen finds what an earlier daemon left: from disk, from the keepers, from exit files.
func (m *Manager) reopen() error {
	entries, err := os.ReadDir(filepath.Join(m.cfg.StateDir, "sandboxes"))
	if err != nil {
		return fmt.Errorf("read sandboxes: %w", err)
	}
	var dead []func() error
	for _, e := range entries {
		if checkID("sandbox", e.Name()) != nil || !e.IsDir() || strings.Contains(e.Name(), ".damaged") {
			continue
		}
		l := m.load(e.Name())
		if clean, err := m.adopt(l); err != nil {
			m.log.Error("take over sandbox", "sandbox", l.id, "error", err)
		} else if clean != nil {
			dead = append(dead, clean)
		}
	}
	// After all living ones are known: a dead sandbox may have had the cgroup of a living one.
	for _, clean := range dead {
		if err := clean(); err != nil {
			m.log.Error("clean up after a sandbox", "error", err)
		}
	}
	return m.removeStrays()
}

// adopt takes in one sandbox. If it is dead it returns what cleans up after it. An error leaves it listed as stopped, to
// be removed by the caller.
func (m *Manager) adopt(l loaded) (clean func() error, err error) {
	s := &sandbox{info: Sandbox{Spec: l.record.Spec, State: SandboxStopped, CreatedAt: l.record.CreatedAt, Users: l.record.Users}}
	if s.info.Users != nil {
		s.info.Users.Namespace = m.usersPath(l.id)
	}
	m.mu.Lock()
	if l.damaged == nil {
		m.sandboxes[l.id] = s
	}
	for _, info := range l.containers {
		c := &container{info: info, sandbox: s, adopted: true, exited: make(chan struct{})}
		if info.State == Exited {
			close(c.exited)
		}
		m.containers[c.id()] = c
	}
	m.mu.Unlock()
	ctx := context.Background()
	for _, cid := range l.lost {
		if err := m.cfg.Snapshots.Remove(ctx, cid); err != nil {
			return nil, fmt.Errorf("remove root filesystem of lost container %s: %w", cid, err)
		}
	}
	if l.damaged != nil {
		return func() error { return m.removeDamaged(ctx, l) }, nil
	}
	client, items, err := keeper.Dial(m.runDir(l.id))
	var process *keeper.Process
	if err == nil {
		if process, err = keeper.Find(client.PID); err != nil {
			client.Close()
		}
	}
	if err != nil {
		m.loseUnseen(s, !exists(m.runDir(l.id)))
		return func() error { return m.dismantle(ctx, s) }, nil
	}
	m.mu.Lock()
	s.client, s.pid1, s.process, s.info.KeeperPID = client, client.PID1, process, client.PID
	if l.record.Stopped { // the daemon ended while it made this sandbox, or while it stopped it
		m.mu.Unlock()
		m.merge(s, items)
		return func() error { return m.dismantle(ctx, s) }, nil
	}
	s.info.State = SandboxReady
	if !l.record.Spec.HostNetwork {
		s.info.NetNS = m.netnsPath(l.id)
	}
	m.mu.Unlock()
	m.merge(s, items)
	m.killUnknown(l, items)
	return nil, nil
}

// killUnknown ends containers that the keeper has but whose record is lost.
func (m *Manager) killUnknown(l loaded, items []keeper.Item) {
	for _, i := range items {
		if _, err := m.container(i.ID); err != nil && i.State == "running" {
			m.log.Warn("a container without a record is killed", "container", i.ID, "sandbox", l.id)
			if cm, err := m.containerCgroup(l.record.Spec, i.ID); err == nil {
				_ = killCgroup(cm.GetPaths(), killTimeout)
			}
		}
	}
}

// loseUnseen settles the containers of a sandbox without keeper that have no exit file.
func (m *Manager) loseUnseen(s *sandbox, rebooted bool) {
	m.mu.Lock()
	all := m.containersLocked(s)
	m.mu.Unlock()
	why := "its keeper ended while skiff was not running; the exit code is not known"
	if rebooted {
		why = "the machine was restarted; the exit code is not known"
	}
	for _, c := range all {
		code, sig, at, err := keeper.ReadExit(m.runDir(s.info.Spec.ID), c.id())
		switch {
		case err == nil:
			m.settle(c, keeper.Item{Code: code, Signal: sig, Finished: at}, "")
		case c.info.State == Created && !c.info.Asked:
			m.neverStarted(c)
		default:
			m.settle(c, keeper.Item{Code: unknownExit, Finished: time.Now()}, why)
		}
	}
}

// removeDamaged forgets a sandbox whose record cannot be read, which therefore does not run. What is left of its files is
// kept for who wants to know; without a record it was just being made or removed, and nothing is.
func (m *Manager) removeDamaged(ctx context.Context, l loaded) error {
	for _, c := range l.containers {
		if err := m.cfg.Snapshots.Remove(ctx, c.Spec.ID); err != nil {
			return fmt.Errorf("remove root filesystem of container %s: %w", c.Spec.ID, err)
		}
		m.mu.Lock()
		delete(m.containers, c.Spec.ID)
		m.mu.Unlock()
	}
	if errors.Is(l.damaged, os.ErrNotExist) {
		return os.RemoveAll(m.stateDir(l.id))
	}
	return os.Rename(m.stateDir(l.id), m.stateDir(l.id)+".damaged."+fmt.Sprint(time.Now().UnixNano()))
}

// removeStrays removes run directories that belong to no sandbox: the daemon ended while removing one.
func (m *Manager) removeStrays() error {
	entries, err := os.ReadDir(filepath.Join(m.cfg.RunDir, "sandboxes"))
	if err != nil {
		return fmt.Errorf("read run directory: %w", err)
	}
	for _, e := range entries {
		if _, ok := m.sandboxes[e.Name()]; ok {
			continue
		}
		if client, _, err := keeper.Dial(m.runDir(e.Name())); err == nil {
			_ = unix.Kill(client.PID, unix.SIGKILL) // it has just answered
			client.Close()
		}
		for _, path := range []string{m.netnsPath(e.Name()), m.usersPath(e.Name()), m.shmPath(e.Name())} {
			if err := unmountAll(path); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(m.runDir(e.Name())); err != nil {
			return err
		}
	}
	return nil
}
