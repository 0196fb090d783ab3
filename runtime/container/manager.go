package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

// Manager runs sandboxes and containers. Safe for concurrent use; calls that change one sandbox are serialised.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	exe     *os.File // handed to keepers, for their creators
	keepers []string // cgroup directories of the keepers
	host    host
	armor   *armor

	// mu guards what follows and the info of every sandbox and container. It is never held over I/O.
	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	closing    bool

	events *eventQueue
	wg     sync.WaitGroup // keepers' connections and cleaning up
}

// sandbox is a Sandbox and how to reach it.
type sandbox struct {
	op      sync.Mutex // held by what changes the sandbox
	info    Sandbox    // without Containers
	pid1    int
	process *keeper.Process // nil when stopped
	client  *keeper.Client  // nil when stopped
	serve   sync.Once
}

// container is a Container and what waits for it.
type container struct {
	info    Container
	sandbox *sandbox
	saving  sync.Mutex
	removed bool
	adopted bool          // it is of an earlier daemon
	exited  chan struct{} // closed when it has exited
	// asked: it was sent its stop signal. Many programs take a second one as an order to hurry.
	asked atomic.Bool
}

func (c *container) id() string { return c.info.Spec.ID }

// ErrNotFound is returned for an unknown sandbox or container.
var ErrNotFound = errors.New("not found")

// ErrNotRunning is returned by what needs a running container.
var ErrNotRunning = errors.New("container is not running")

// Open reads the state on disk, reconnects to the keepers that still run, and marks the rest as stopped.
func Open(cfg Config) (*Manager, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, host: askHost(), armor: newArmor(cfg.Logger), events: newEventQueue(),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
	}
	for _, dir := range []string{filepath.Join(cfg.StateDir, "sandboxes"), filepath.Join(cfg.RunDir, "sandboxes"), m.factoryRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	var err error
	if m.exe, err = openExecutable(cfg.Executable); err != nil {
		return nil, err
	}
	cm, err := makeCgroup(filepath.Join("/", cfg.CgroupRoot, keepersCgroup), resources(Resources{}, false))
	if err != nil {
		m.exe.Close()
		return nil, err
	}
	m.keepers = existing(cm)
	if err := m.reopen(); err != nil {
		m.exe.Close()
		return nil, err
	}
	return m, nil
}

// Run watches the keepers and delivers events until ctx ends. It stops no container.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	for _, s := range m.sandboxes {
		m.serveLocked(s)
	}
	m.mu.Unlock()
	m.events.deliver(ctx)
	m.mu.Lock()
	m.closing = true
	for _, s := range m.sandboxes {
		if s.client != nil {
			s.client.Close()
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
	return nil
}

// Events wake the caller; they may be coalesced. One reader.
func (m *Manager) Events() <-chan Event { return m.events.out }

// List returns every sandbox with its containers.
func (m *Manager) List() []Sandbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Sandbox, 0, len(m.sandboxes))
	for _, s := range m.sandboxes {
		out = append(out, m.viewLocked(s))
	}
	slices.SortFunc(out, func(a, b Sandbox) int { return strings.Compare(a.Spec.ID, b.Spec.ID) })
	return out
}

// Sandbox returns one; ok is false if there is none.
func (m *Manager) Sandbox(id string) (Sandbox, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sandboxes[id]
	if s == nil {
		return Sandbox{}, false
	}
	return m.viewLocked(s), true
}

// Container returns one; ok is false if there is none.
func (m *Manager) Container(id string) (Container, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.containers[id]
	if c == nil {
		return Container{}, false
	}
	return c.info, true
}

// viewLocked is the sandbox as callers see it; containers in the order of their creation.
func (m *Manager) viewLocked(s *sandbox) Sandbox {
	v := s.info
	v.Containers = nil
	for _, c := range m.containersLocked(s) {
		v.Containers = append(v.Containers, c.info)
	}
	return v
}

func (m *Manager) containersLocked(s *sandbox) []*container {
	var out []*container
	for _, c := range m.containers {
		if c.sandbox == s {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *container) int {
		if n := a.info.CreatedAt.Compare(b.info.CreatedAt); n != 0 {
			return n
		}
		return strings.Compare(a.id(), b.id())
	})
	return out
}

func (m *Manager) sandbox(id string) (*sandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sandboxes[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
}

func (m *Manager) container(id string) (*container, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
}

// running returns the container, its pid and its keeper, if it runs.
func (m *Manager) running(id string) (*container, int, *keeper.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.containers[id]
	if c == nil {
		return nil, 0, nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	if c.info.State != Running || c.sandbox.client == nil {
		return nil, 0, nil, fmt.Errorf("container %s: %w", id, ErrNotRunning)
	}
	return c, c.info.PID, c.sandbox.client, nil
}
