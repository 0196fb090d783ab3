package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
	"codeberg.org/skiff/skiff/runtime/logs"
)

// serveLocked begins to read the keeper's answers and events; mu is held.
func (m *Manager) serveLocked(s *sandbox) {
	client := s.client
	if client == nil || m.closing {
		return
	}
	s.serve.Do(func() {
		m.wg.Go(func() { m.serve(s, client) })
	})
}

func (m *Manager) serve(s *sandbox, client *keeper.Client) {
	for {
		client.Serve(func(e keeper.Event) {
			switch {
			case e.Exit != nil:
				m.exited(*e.Exit)
			case e.Run != nil:
				m.ran(*e.Run)
			case e.Fail != "":
				if c, err := m.container(e.Fail); err == nil {
					m.settle(c, keeper.Item{Code: cannotStart, Finished: time.Now()}, e.Why)
				}
			case e.LogFull != "":
				m.wg.Go(func() { m.rotate(e.LogFull) })
			}
		})
		if client = m.reconnect(s, client); client == nil {
			return
		}
	}
}

// reconnect is called when the connection ended. Mostly the keeper has; if only the connection broke it returns another.
func (m *Manager) reconnect(s *sandbox, old *keeper.Client) *keeper.Client {
	m.mu.Lock()
	ours := s.client == old && !m.closing
	m.mu.Unlock()
	if !ours {
		return nil // by our own doing
	}
	if client, items, err := keeper.Dial(m.runDir(s.info.Spec.ID)); err == nil {
		m.mu.Lock()
		if s.client != old || m.closing {
			m.mu.Unlock()
			client.Close()
			return nil
		}
		s.client = client
		m.mu.Unlock()
		m.merge(s, items)
		return client
	}
	m.wg.Go(func() {
		s.op.Lock()
		defer s.op.Unlock()
		m.mu.Lock()
		ours := s.client == old && !m.closing
		m.mu.Unlock()
		if !ours {
			return
		}
		m.log.Error("a sandbox's keeper ended; its containers are killed", "sandbox", s.info.Spec.ID)
		if err := m.dismantle(context.Background(), s); err != nil {
			m.log.Error("clean up after a keeper that ended", "sandbox", s.info.Spec.ID, "error", err)
		}
		m.events.add(Event{SandboxID: s.info.Spec.ID})
	})
	return nil
}

// merge brings a sandbox's containers up to what its keeper knows.
func (m *Manager) merge(s *sandbox, items []keeper.Item) {
	known := map[string]keeper.Item{}
	for _, i := range items {
		known[i.ID] = i
		if i.State == "exited" {
			m.exited(i)
		}
	}
	m.mu.Lock()
	var changed, lost []*container
	for _, c := range m.containersLocked(s) {
		i, ok := known[c.id()]
		switch {
		case c.info.State == Exited:
		case ok && i.State == "running":
			c.info.State, c.info.PID, c.info.StartedAt = Running, i.PID, i.Started
			changed = append(changed, c)
		case !ok:
			lost = append(lost, c)
		}
	}
	m.mu.Unlock()
	for _, c := range changed {
		m.save(c)
	}
	for _, c := range lost { // the daemon, or the connection, ended between its record and the keeper's START
		if c.adopted {
			m.neverStarted(c)
		} else {
			m.settle(c, keeper.Item{Code: cannotStart, Finished: time.Now()}, "the connection to its keeper broke before it was started")
		}
	}
}

// neverStarted forgets a container that was recorded and never ran: for the caller it is as if it had not asked, so that it starts it
// now. Settled with some exit code it would count as a run, and a pod whose containers run once only would have failed.
func (m *Manager) neverStarted(c *container) {
	m.log.Info("a container is forgotten that was recorded and never started", "container", c.id(), "sandbox", c.info.SandboxID)
	m.mu.Lock()
	c.info.State = Exited
	m.mu.Unlock()
	close(c.exited)
	if err := m.eraseContainer(context.Background(), c, nil); err != nil {
		m.log.Error("remove a container that was never started", "container", c.id(), "error", err)
	}
}

// exited takes in an exit that a keeper told.
func (m *Manager) exited(i keeper.Item) {
	if c, err := m.container(i.ID); err == nil {
		m.settle(c, i, "")
	}
}

// ran takes in that a container runs whose start an earlier daemon asked for.
func (m *Manager) ran(i keeper.Item) {
	c, err := m.container(i.ID)
	if err != nil {
		return
	}
	m.mu.Lock()
	created := c.info.State == Created
	if created {
		c.info.State, c.info.PID, c.info.StartedAt = Running, i.PID, i.Started
	}
	m.mu.Unlock()
	if created {
		m.save(c)
		m.events.add(Event{SandboxID: c.info.SandboxID, ContainerID: c.id()})
	}
}

// settle makes a container Exited, once: record, wake, tell, clean up.
func (m *Manager) settle(c *container, i keeper.Item, message string) {
	cm, err := m.containerCgroup(c.sandbox.info.Spec, c.id())
	oom := err == nil && oomKills(cm.GetPaths()) > 0
	m.mu.Lock()
	if c.info.State == Exited {
		m.mu.Unlock()
		return
	}
	c.info.State, c.info.PID = Exited, 0
	c.info.ExitCode, c.info.Signal, c.info.FinishedAt = i.Code, i.Signal, i.Finished
	if !i.Started.IsZero() {
		c.info.StartedAt = i.Started
	}
	c.info.OOMKilled, c.info.Message = oom, message
	m.mu.Unlock()
	m.step("exit: it is heard")
	m.save(c)
	m.step("exit: it is recorded")
	close(c.exited)
	m.events.add(Event{SandboxID: c.info.SandboxID, ContainerID: c.id()})
	m.wg.Go(func() { m.cleanContainer(c) })
}

func (m *Manager) save(c *container) {
	if err := m.saveContainer(c); err != nil {
		m.log.Error("record container", "error", err)
	}
}

// cleanContainer removes an exited container's cgroup and libcontainer's state, killing what is left of it.
func (m *Manager) cleanContainer(c *container) {
	cm, err := m.containerCgroup(c.sandbox.info.Spec, c.id())
	if err == nil {
		if err = killCgroup(cm.GetPaths(), killTimeout); err == nil {
			err = cm.Destroy()
		}
	}
	if err != nil {
		m.log.Warn("remove cgroup of exited container", "container", c.id(), "error", err)
	}
	m.step("exit: its cgroup is gone")
	_ = os.RemoveAll(filepath.Join(m.factoryRoot(), c.id()))
	m.step("exit: libcontainer's state is gone")
}

// lose settles the containers of a sandbox whose keeper is gone: by their exit files, else by what is known.
func (m *Manager) lose(s *sandbox, why string) {
	m.mu.Lock()
	all := m.containersLocked(s)
	m.mu.Unlock()
	for _, c := range all {
		select {
		case <-c.exited:
			continue
		default:
		}
		i := keeper.Item{Finished: time.Now(), Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}
		if code, sig, at, err := keeper.ReadExit(m.runDir(s.info.Spec.ID), c.id()); err == nil {
			m.settle(c, keeper.Item{Code: code, Signal: sig, Finished: at}, "")
		} else {
			m.settle(c, i, why)
		}
	}
}

// rotate is called when a log file has reached its size.
func (m *Manager) rotate(id string) {
	c, err := m.container(id)
	if err != nil || m.cfg.LogMaxSize < 0 {
		return
	}
	m.mu.Lock()
	client, path := c.sandbox.client, c.info.Spec.LogPath
	m.mu.Unlock()
	if client == nil {
		return
	}
	err = logs.Rotate(path, m.cfg.LogMaxSize, m.cfg.LogMaxFiles, func() error { return client.Reopen(context.Background(), id) })
	if now, _ := m.Container(id); err != nil && now.State == Running {
		m.log.Error("rotate log file", "container", id, "path", path, "error", err)
	}
}

// ReopenLog makes the keeper open the log file anew, after a rotation renamed it.
func (m *Manager) ReopenLog(ctx context.Context, containerID string) error {
	_, _, client, err := m.running(containerID)
	if err != nil {
		return err
	}
	if err := client.Reopen(ctx, containerID); err != nil {
		return fmt.Errorf("reopen log of container %s: %w", containerID, err)
	}
	return nil
}
