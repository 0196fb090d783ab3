package container

import (
	"context"
	"syscall"
	"time"
)

// Manager runs sandboxes and containers. Safe for concurrent use; calls for one sandbox are serialised.
type Manager struct{}

// Open reads the state on disk, reconnects to the keepers that still run, and marks the rest as stopped.
func Open(Config) (*Manager, error) { panic("not written yet") }

// Run watches the keepers and delivers events until ctx ends. It stops no container.
func (m *Manager) Run(ctx context.Context) error { panic("not written yet") }

// Events wake the caller; they may be coalesced. One reader.
func (m *Manager) Events() <-chan Event { panic("not written yet") }

// List returns every sandbox with its containers.
func (m *Manager) List() []Sandbox { panic("not written yet") }

// Sandbox returns one; ok is false if there is none.
func (m *Manager) Sandbox(id string) (s Sandbox, ok bool) { panic("not written yet") }

// CreateSandbox makes the cgroup, starts the keeper in new namespaces and sets hostname, loopback and sysctls.
// The caller then connects NetNS to a network.
func (m *Manager) CreateSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error) {
	panic("not written yet")
}

// StopSandbox kills what still runs in it and ends its keeper. Idempotent.
func (m *Manager) StopSandbox(ctx context.Context, id string) error { panic("not written yet") }

// RemoveSandbox stops it and forgets it with its containers, their root filesystems and its cgroup. Idempotent.
func (m *Manager) RemoveSandbox(ctx context.Context, id string) error { panic("not written yet") }

// UpdateSandbox changes the limits of the sandbox's cgroup.
func (m *Manager) UpdateSandbox(ctx context.Context, id string, r Resources) error {
	panic("not written yet")
}

// Start creates and starts a container. If it cannot start (no such command, bad mount) the error says so and the
// container is listed as Exited with code 128 and the Message.
func (m *Manager) Start(ctx context.Context, sandboxID string, spec ContainerSpec) (Container, error) {
	panic("not written yet")
}

// Signal sends a signal to the container's first process.
func (m *Manager) Signal(ctx context.Context, containerID string, sig syscall.Signal) error {
	panic("not written yet")
}

// Stop sends the stop signal, waits up to grace for the exit, then kills every process of the container. It returns when
// the container has exited. Idempotent.
func (m *Manager) Stop(ctx context.Context, containerID string, grace time.Duration) error {
	panic("not written yet")
}

// Remove forgets an exited container and deletes its root filesystem (not its log). Idempotent.
func (m *Manager) Remove(ctx context.Context, containerID string) error { panic("not written yet") }

// UpdateContainer changes the limits of a running container.
func (m *Manager) UpdateContainer(ctx context.Context, containerID string, r Resources) error {
	panic("not written yet")
}

// Exec runs one more process and returns its exit code when it has ended.
func (m *Manager) Exec(ctx context.Context, containerID string, spec ExecSpec) (exitCode int, err error) {
	panic("not written yet")
}

// Attach copies streams until the container exits or ctx ends.
func (m *Manager) Attach(ctx context.Context, containerID string, spec AttachSpec) error {
	panic("not written yet")
}

// ReopenLog makes the keeper open the log file anew, after a rotation renamed it.
func (m *Manager) ReopenLog(ctx context.Context, containerID string) error { panic("not written yet") }

// ContainerStats and SandboxStats read the cgroups.
func (m *Manager) ContainerStats(containerID string) (Stats, error) { panic("not written yet") }
func (m *Manager) SandboxStats(sandboxID string) (Stats, error)     { panic("not written yet") }
