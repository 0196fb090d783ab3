package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

// Stop sends the stop signal, once however often it is called, waits up to grace for the exit, then kills every process of the container.
// It returns when the container has exited. Idempotent.
func (m *Manager) Stop(ctx context.Context, containerID string, grace time.Duration) error {
	c, err := m.container(containerID)
	if err != nil {
		return nil
	}
	if grace > 0 {
		exited, err := m.askToStop(ctx, c, grace)
		if exited || err != nil {
			return err
		}
	}
	m.killContainer(ctx, c)
	timer := time.NewTimer(killTimeout)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: %w", containerID, ctx.Err())
	case <-timer.C:
		return fmt.Errorf("stop container %s: it is still there %v after SIGKILL", containerID, killTimeout)
	}
}

func (m *Manager) askToStop(ctx context.Context, c *container, grace time.Duration) (exited bool, err error) {
	_, _, client, err := m.running(c.id())
	if err != nil {
		select {
		case <-c.exited:
			return true, nil
		default:
			return false, nil
		}
	}
	if !c.asked.Swap(true) {
		_ = client.Signal(ctx, c.id(), int(stopSignal(c.info.Spec.StopSignal)))
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.exited:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("stop container %s: %w", c.id(), ctx.Err())
	}
}

// killContainer kills the first process, through its keeper, and then whatever is in the cgroup.
func (m *Manager) killContainer(ctx context.Context, c *container) {
	select {
	case <-c.exited:
		return
	default:
	}
	m.mu.Lock()
	client := c.sandbox.client
	m.mu.Unlock()
	if client != nil {
		_ = client.Signal(ctx, c.id(), int(unix.SIGKILL))
	}
	cm, err := m.containerCgroup(c.sandbox.info.Spec, c.id())
	if err == nil {
		err = killCgroup(cm.GetPaths(), killTimeout)
	}
	if err != nil {
		m.log.Warn("kill container", "container", c.id(), "error", err)
	}
}

// stopSignal reads SIGTERM, TERM, 15 or SIGRTMIN+3; what it does not know is SIGTERM.
func stopSignal(name string) unix.Signal {
	name = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "SIG")
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return unix.Signal(n)
	}
	const rtmin, rtmax = 34, 64
	for prefix, base := range map[string]int{"RTMIN": rtmin, "RTMAX": rtmax} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			offset := 0
			if rest != "" {
				offset, _ = strconv.Atoi(rest)
			}
			if n := base + offset; n >= rtmin && n <= rtmax {
				return unix.Signal(n)
			}
		}
	}
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return s
	}
	return unix.SIGTERM
}

// Remove forgets an exited container and deletes its root filesystem (not its log). Idempotent.
func (m *Manager) Remove(ctx context.Context, containerID string) error {
	c, err := m.container(containerID)
	if err != nil {
		return nil
	}
	c.sandbox.op.Lock()
	defer c.sandbox.op.Unlock()
	select {
	case <-c.exited:
	default:
		return fmt.Errorf("remove container %s: it has not exited", containerID)
	}
	if err := m.removeContainer(ctx, c); err != nil {
		return fmt.Errorf("remove container %s: %w", containerID, err)
	}
	return nil
}

func (m *Manager) removeContainer(ctx context.Context, c *container) error {
	m.mu.Lock()
	client := c.sandbox.client
	m.mu.Unlock()
	return m.eraseContainer(ctx, c, client)
}

// eraseContainer removes all that is left of a container; client is nil when its keeper does not know it.
func (m *Manager) eraseContainer(ctx context.Context, c *container, client *keeper.Client) error {
	m.step("remove: nothing is removed")
	m.cleanContainer(c)
	if err := m.cfg.Snapshots.Remove(ctx, c.id()); err != nil {
		return fmt.Errorf("remove root filesystem: %w", err)
	}
	m.step("remove: its root filesystem is gone")
	if client != nil {
		_ = client.Forget(ctx, c.id()) // it may never have known it
	}
	m.step("remove: the keeper has forgotten it")
	_ = os.Remove(filepath.Join(m.runDir(c.info.SandboxID), "exit."+c.id()))
	m.step("remove: its exit file is gone")
	c.saving.Lock()
	defer c.saving.Unlock()
	if err := os.Remove(m.containerFile(c.info.SandboxID, c.id())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.mu.Lock()
	c.removed = true
	delete(m.containers, c.id())
	m.mu.Unlock()
	m.step("remove: its record is gone")
	return nil
}
