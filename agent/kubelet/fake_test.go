package kubelet

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/stats"
)

// fakeRuntime keeps sandboxes in memory. It outlives kubelets, as keepers outlive the daemon.
type fakeRuntime struct {
	mu        sync.Mutex
	sandboxes map[string]*container.Sandbox
	events    chan container.Event
	// onStart may change what a container does when it starts.
	onStart func(c *container.Container)
	// stubborn containers end only by a kill.
	stubborn bool
	started  []string // names, in order
	refused  int      // starts
	// slow, if set, is waited for before a sandbox gets other limits.
	slow     chan struct{}
	execs    [][]string
	execCode int
	// onExec may take its time.
	onExec func(ctx context.Context, spec container.ExecSpec)
	// groups are the cgroups above sandboxes.
	groups      map[string]container.Resources
	groupWrites int
	// stops are the names of containers that were asked to stop, in order.
	stops []string
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{sandboxes: map[string]*container.Sandbox{}, events: make(chan container.Event, 1000)}
}

func (f *fakeRuntime) Events() <-chan container.Event { return f.events }

func (f *fakeRuntime) tell(sandbox, id string) {
	f.events <- container.Event{SandboxID: sandbox, ContainerID: id}
}

func (f *fakeRuntime) List() (out []container.Sandbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sandboxes {
		out = append(out, f.copy(s))
	}
	return out
}

func (f *fakeRuntime) copy(s *container.Sandbox) container.Sandbox {
	c := *s
	c.Containers = slices.Clone(s.Containers)
	return c
}

func (f *fakeRuntime) Sandbox(id string) (container.Sandbox, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[id]; s != nil {
		return f.copy(s), true
	}
	return container.Sandbox{}, false
}

func (f *fakeRuntime) CreateSandbox(_ context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sandboxes[spec.ID] != nil {
		return container.Sandbox{}, errors.New("sandbox exists")
	}
	s := &container.Sandbox{Spec: spec, State: container.SandboxReady, CreatedAt: time.Now(), NetNS: "/proc/self/ns/net"}
	f.sandboxes[spec.ID] = s
	return *s, nil
}

func (f *fakeRuntime) StopSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[id]; s != nil {
		s.State = container.SandboxStopped
		for i := range s.Containers {
			f.exit(&s.Containers[i], 137)
		}
		f.tell(id, "")
	}
	return nil
}

func (f *fakeRuntime) RemoveSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sandboxes, id)
	return nil
}

func (f *fakeRuntime) Start(_ context.Context, id string, spec container.ContainerSpec) (container.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sandboxes[id]
	if s == nil || s.State != container.SandboxReady {
		return container.Container{}, errors.New("no such sandbox")
	}
	if quota := s.Spec.Resources.CPUQuota; quota > 0 && spec.Resources.CPUQuota > quota { // as cgroup v1 has it
		f.refused++
		s.Containers = append(s.Containers, container.Container{Spec: spec, SandboxID: id, State: container.Exited, ExitCode: 128, FinishedAt: time.Now(), Message: "invalid argument"})
		return container.Container{}, errors.New("invalid argument")
	}
	now := time.Now()
	c := container.Container{Spec: spec, SandboxID: id, State: container.Running, CreatedAt: now, StartedAt: now}
	f.started = append(f.started, spec.Name)
	if f.onStart != nil {
		f.onStart(&c)
	}
	os.WriteFile(spec.LogPath, []byte("2026-01-01T00:00:00Z stdout F hello\n"), 0o644)
	s.Containers = append(s.Containers, c)
	f.tell(id, spec.ID)
	if c.State == container.Exited && c.StartedAt.IsZero() {
		return c, errors.New(c.Message)
	}
	return c, nil
}

func (f *fakeRuntime) exit(c *container.Container, code int) {
	if c.State == container.Running {
		c.State, c.ExitCode, c.FinishedAt = container.Exited, code, time.Now()
	}
}

// crash ends a running container by name.
func (f *fakeRuntime) crash(name string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range f.sandboxes {
		for i := range s.Containers {
			if s.Containers[i].Spec.Name == name && s.Containers[i].State == container.Running {
				f.exit(&s.Containers[i], code)
				f.tell(id, s.Containers[i].Spec.ID)
			}
		}
	}
}

func (f *fakeRuntime) find(id string) (*container.Sandbox, *container.Container) {
	for _, s := range f.sandboxes {
		for i := range s.Containers {
			if s.Containers[i].Spec.ID == id {
				return s, &s.Containers[i]
			}
		}
	}
	return nil, nil
}

func (f *fakeRuntime) Signal(context.Context, string, syscall.Signal) error { return nil }

func (f *fakeRuntime) Stop(ctx context.Context, id string, grace time.Duration) error {
	f.mu.Lock()
	stubborn := f.stubborn
	if _, c := f.find(id); c != nil {
		f.stops = append(f.stops, c.Spec.Name)
	}
	f.mu.Unlock()
	code := 0
	if stubborn {
		code = 137
		select {
		case <-time.After(grace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, c := f.find(id); c != nil {
		f.exit(c, code)
		f.tell(s.Spec.ID, id)
	}
	return nil
}

func (f *fakeRuntime) Remove(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, c := f.find(id); c != nil {
		s.Containers = slices.DeleteFunc(s.Containers, func(c container.Container) bool { return c.Spec.ID == id })
	}
	return nil
}

func (f *fakeRuntime) Exec(ctx context.Context, id string, spec container.ExecSpec) (int, error) {
	f.mu.Lock()
	f.execs = append(f.execs, spec.Args)
	f.mu.Unlock()
	if f.onExec != nil {
		f.onExec(ctx, spec)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if spec.Stdout != nil {
		io.WriteString(spec.Stdout, "exec "+id[:4])
	}
	return f.execCode, nil
}

func (f *fakeRuntime) Attach(context.Context, string, container.AttachSpec) error { return nil }
func (f *fakeRuntime) UpdateContainer(_ context.Context, id string, r container.Resources, labels map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, c := f.find(id)
	if c == nil {
		return errors.New("no such container")
	}
	c.Spec.Resources, c.Spec.Labels = r, maps.Clone(c.Spec.Labels)
	maps.Copy(c.Spec.Labels, labels)
	f.tell(s.Spec.ID, id)
	return nil
}

func (f *fakeRuntime) UpdateSandbox(ctx context.Context, id string, r container.Resources) error {
	if f.slow != nil {
		select {
		case <-f.slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sandboxes[id].Spec.Resources = r
	f.tell(id, "")
	return nil
}

func (f *fakeRuntime) SetGroup(name string, r container.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups == nil {
		f.groups = map[string]container.Resources{}
	}
	f.groups[name] = r
	f.groupWrites++
	return nil
}
func (f *fakeRuntime) WeighGroup(name string, shares uint64) error {
	f.mu.Lock()
	r := f.groups[name]
	f.mu.Unlock()
	r.CPUShares = shares
	return f.SetGroup(name, r)
}
func (f *fakeRuntime) LimitCgroup(string, container.Resources) error { return nil }
func (f *fakeRuntime) GroupStats(string) (container.Stats, error)    { return f.ContainerStats("") }

func (f *fakeRuntime) ContainerStats(string) (container.Stats, error) {
	return container.Stats{Time: time.Now(), CPUNanos: 5e9, WorkingSet: 1 << 20, MemoryLimit: 64 << 20, SwapLimit: 1 << 20}, nil
}
func (f *fakeRuntime) SandboxStats(id string) (container.Stats, error) {
	s, err := f.ContainerStats(id)
	s.Interfaces = []stats.Network{{Name: "eth0", RxBytes: 1, TxBytes: 2}}
	return s, err
}

func (f *fakeRuntime) ContainerDetail(id string) (stats.Detail, string, error) {
	return stats.Detail{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100_000}, "/fake/" + id, nil
}
func (f *fakeRuntime) SandboxDetail(id string) (stats.Detail, string, error) {
	return f.ContainerDetail(id)
}
func (f *fakeRuntime) GroupDetail(id string) (stats.Detail, string, error) {
	return f.ContainerDetail(id)
}

// fakeImages has every image but those named missing.
type fakeImages struct {
	dir string
	mu  sync.Mutex
	all map[string]*image.Image
}

func newFakeImages(dir string) *fakeImages {
	os.MkdirAll(filepath.Join(dir, "layer", "etc"), 0o755)
	os.WriteFile(filepath.Join(dir, "layer", "etc", "passwd"), []byte("root:x:0:0::/root:/bin/sh\nweb:x:101:102::/:/bin/sh\n"), 0o644)
	os.WriteFile(filepath.Join(dir, "layer", "etc", "group"), []byte("root:x:0:\nextra:x:200:web\n"), 0o644)
	return &fakeImages{dir: dir, all: map[string]*image.Image{}}
}

func (f *fakeImages) Pull(_ context.Context, ref string, _ image.PullOptions) (*image.Image, error) {
	if ref == "missing" {
		return nil, image.ErrNotFound
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := &image.Image{ID: "sha256:" + ref, Names: []string{ref}, Size: 1000, Entrypoint: []string{"/app"}, Env: []string{"FROM=image"}, User: "web",
		Layers: []string{filepath.Join(f.dir, "layer")}}
	f.all[ref], f.all[img.ID] = img, img
	return img, nil
}

func (f *fakeImages) Get(ref string) *image.Image {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[ref]
}
func (f *fakeImages) List() []*image.Image                                    { return nil }
func (f *fakeImages) Remove(context.Context, string, func(string) bool) error { return nil }
func (f *fakeImages) Usage() (int64, error)                                   { return 0, nil }

// fakeNetwork hands out addresses.
type fakeNetwork struct {
	mu sync.Mutex
	n  int
	by map[string]netip.Addr
	// down refuses pods; refused is how often.
	down    error
	refused int
}

func (f *fakeNetwork) Attach(_ context.Context, id, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		f.refused++
		return nil, f.down
	}
	if f.by == nil {
		f.by = map[string]netip.Addr{}
	}
	a, ok := f.by[id]
	if !ok {
		f.n++
		a = netip.AddrFrom4([4]byte{10, 42, 0, byte(f.n)})
		f.by[id] = a
	}
	return []netip.Addr{a}, nil
}

func (f *fakeNetwork) Attached(id, _ string) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.by[id]; ok {
		return []netip.Addr{a}
	}
	return nil
}

func (f *fakeNetwork) Detach(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, id)
	return nil
}
