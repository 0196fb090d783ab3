package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
	"codeberg.org/skiff/skiff/runtime/logs"
	"codeberg.org/skiff/skiff/runtime/reexec"
)

// cannotStart is the exit code of a container that could not be started.
const cannotStart = 128

// Start creates and starts a container. If it cannot start (no such command, bad mount) the error says so and the
// container is listed as Exited with code 128 and the Message.
func (m *Manager) Start(ctx context.Context, sandboxID string, spec ContainerSpec) (Container, error) {
	if err := checkID("container", spec.ID); err != nil {
		return Container{}, err
	}
	s, err := m.sandbox(sandboxID)
	if err != nil {
		return Container{}, err
	}
	s.op.Lock()
	defer s.op.Unlock()
	c := &container{
		info:    Container{Spec: spec, SandboxID: sandboxID, State: Created, CreatedAt: time.Now()},
		sandbox: s, exited: make(chan struct{}),
	}
	m.mu.Lock()
	client := s.client
	exists := m.containers[spec.ID] != nil
	if !exists && client != nil {
		m.containers[spec.ID] = c
	}
	m.mu.Unlock()
	if exists {
		return Container{}, fmt.Errorf("start container %s: it exists", spec.ID)
	}
	if client == nil {
		return Container{}, fmt.Errorf("start container %s: sandbox %s is stopped", spec.ID, sandboxID)
	}
	m.warmMigration(client.PID)
	if err := m.start(ctx, c, client); err != nil {
		m.settle(c, keeper.Item{Code: cannotStart, Finished: time.Now()}, err.Error())
		info, _ := m.Container(spec.ID)
		return info, fmt.Errorf("start container %s: %w", spec.ID, err)
	}
	m.events.add(Event{SandboxID: sandboxID, ContainerID: spec.ID})
	info, _ := m.Container(spec.ID)
	return info, nil
}

func (m *Manager) start(ctx context.Context, c *container, client *keeper.Client) error {
	m.step("start: nothing is written")
	if err := m.saveContainer(c); err != nil {
		return err
	}
	m.step("start: it is recorded")
	spec := c.info.Spec
	rootfs, err := m.cfg.Snapshots.Prepare(ctx, spec.ID, spec.ImageID, c.sandbox.info.Users)
	if err != nil {
		return fmt.Errorf("prepare root filesystem: %w", err)
	}
	m.step("start: its root filesystem is made")
	// libcontainer wants it without symbolic links.
	if rootfs, err = filepath.EvalSymlinks(rootfs); err != nil {
		return fmt.Errorf("find root filesystem: %w", err)
	}
	volumes, err := m.volumes(ctx, spec)
	if err != nil {
		return err
	}
	request, killCgroup, err := m.request(c, rootfs, volumes)
	if err != nil {
		return err
	}
	file, err := requestFile(request)
	if err != nil {
		return err
	}
	defer file.Close()
	if spec.LogPath != "" {
		if err := logs.MakeDir(spec.LogPath); err != nil {
			return fmt.Errorf("make log directory: %w", err)
		}
	}
	m.mu.Lock()
	c.info.Asked = true
	m.mu.Unlock()
	if err := m.saveContainer(c); err != nil {
		return err
	}
	m.step("start: it is recorded that the keeper is asked")
	item, err := client.Start(ctx, keeper.Start{
		ID: spec.ID, Flags: startFlags(spec), LogPath: spec.LogPath, LogMax: m.cfg.LogMaxSize, KillCgroup: killCgroup,
		Executable: m.exe, Request: file,
	})
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, keeper.ErrGone) { // it may still be starting
			m.abort(c, client)
		}
		return err
	}
	m.step("start: it runs")
	m.mu.Lock()
	if c.info.State == Created {
		c.info.State, c.info.PID = Running, item.PID
	}
	c.info.StartedAt = item.Started
	m.mu.Unlock()
	if err := m.saveContainer(c); err != nil {
		return err
	}
	m.step("start: it is recorded that it runs")
	return nil
}

// volumes are the mounts of the image's volumes, without those that the caller mounts over.
func (m *Manager) volumes(ctx context.Context, spec ContainerSpec) ([]Mount, error) {
	wanted := slices.DeleteFunc(slices.Clone(spec.Volumes), func(path string) bool {
		return slices.ContainsFunc(spec.Mounts, func(o Mount) bool { return filepath.Join("/", o.Destination) == filepath.Join("/", path) })
	})
	if len(wanted) == 0 {
		return nil, nil
	}
	made, err := m.cfg.Snapshots.Volumes(ctx, spec.ID, wanted)
	if err != nil {
		return nil, err
	}
	var out []Mount
	for _, path := range slices.Sorted(maps.Keys(made)) {
		out = append(out, Mount{Source: made[path], Destination: path})
	}
	return out, nil
}

// warmMigration hides a latency of the kernel. To move a process into a cgroup it takes a lock for which it waits for an
// RCU grace period (some 10 ms), unless the lock was taken a moment ago. A creator moves the container's first process
// when it has run for 10 ms itself; so take the lock now, by moving the keeper to where it is.
func (m *Manager) warmMigration(keeperPID int) {
	if len(m.keepers) > 0 {
		m.wg.Go(func() {
			_ = os.WriteFile(filepath.Join(m.keepers[0], "cgroup.procs"), []byte(strconv.Itoa(keeperPID)), 0)
		})
	}
}

// abort ends a start that nobody waits for any more.
func (m *Manager) abort(c *container, client *keeper.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = client.Signal(ctx, c.id(), int(unix.SIGKILL))
}

func startFlags(s ContainerSpec) keeper.StartFlags {
	f := keeper.KillRest
	if s.TTY {
		f |= keeper.TTY
	}
	if s.Stdin {
		f |= keeper.Stdin
	}
	if s.StdinOnce {
		f |= keeper.StdinOnce
	}
	return f
}

// requestFile puts a creator's or executor's request where a file descriptor can be handed on.
func requestFile(r *reexec.Request) (*os.File, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("skiff-request", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "skiff-request")
	if _, err = f.Write(b); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	return f, nil
}

// Signal sends a signal to the container's first process.
func (m *Manager) Signal(ctx context.Context, containerID string, sig syscall.Signal) error {
	_, _, client, err := m.running(containerID)
	if err != nil {
		return err
	}
	if err := client.Signal(ctx, containerID, int(sig)); err != nil {
		return fmt.Errorf("signal container %s: %w", containerID, err)
	}
	return nil
}

// UpdateContainer changes the limits of a running container, and sets these labels of its caller with them.
func (m *Manager) UpdateContainer(ctx context.Context, containerID string, r Resources, labels map[string]string) error {
	c, _, _, err := m.running(containerID)
	if err != nil {
		return err
	}
	limits := resources(r, true)
	cm, err := newCgroup(m.cgroupPath(c.sandbox.info.Spec, containerID), limits)
	if err != nil {
		return err
	}
	if err := cm.Set(limits); err != nil {
		return fmt.Errorf("set limits of container %s: %w", containerID, err)
	}
	m.mu.Lock()
	c.info.Spec.Resources = r
	all := maps.Clone(c.info.Spec.Labels) // what was handed out is not changed
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, labels)
	c.info.Spec.Labels = all
	m.mu.Unlock()
	return m.saveContainer(c)
}
