package probe

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
)

// Kinds of probe.
const (
	Startup   = "startup"
	Readiness = "readiness"
	Liveness  = "liveness"
)

// Config of a Manager.
type Config struct {
	Exec Exec
	// Changed wakes whoever decides about the pod. It must not block.
	Changed func(uid types.UID)
	// Event records an Unhealthy or ProbeWarning event; reason and message as users of Kubernetes know them.
	Event func(pod *corev1.Pod, container, reason, message string)
	// Took is told how long a probe took; kind is as metrics have it. Optional.
	Took func(pod *corev1.Pod, container, kind string, took time.Duration)
	Log  *slog.Logger
}

// Manager runs probes. Safe for concurrent use.
type Manager struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	running map[string]*subject // by container ID
	counts  map[Count]uint64
}

// Count is a probe with its result, for metrics.
type Count struct {
	Namespace, Pod, Container, Type, Result string
	UID                                     types.UID
}

// subject is one container that is probed; guarded by Manager.mu.
type subject struct {
	uid    types.UID
	result plan.Probe
	cancel context.CancelFunc
	// alive ends the startup and liveness probes when the pod is ending.
	alive context.CancelFunc
}

// Target is what to probe.
type Target struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	ID        string
	PodIP     string
	StartedAt time.Time
}

// New returns a manager that probes nothing yet.
func New(cfg Config) *Manager {
	ctx, stop := context.WithCancel(context.Background())
	return &Manager{cfg: cfg, ctx: ctx, stop: stop, running: map[string]*subject{}, counts: map[Count]uint64{}}
}

// Run returns when ctx has ended and every probe with it.
func (m *Manager) Run(ctx context.Context) error {
	<-ctx.Done()
	m.stop()
	m.wg.Wait()
	return nil
}

// Watch begins to probe a running container, once. Ready is what is known of it from before (a restart of the daemon).
func (m *Manager) Watch(t Target, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[t.ID] != nil || m.ctx.Err() != nil {
		return
	}
	c := t.Container
	ctx, cancel := context.WithCancel(m.ctx)
	live, alive := context.WithCancel(ctx)
	s := &subject{uid: t.Pod.UID, cancel: cancel, alive: alive}
	s.result.Started = c.StartupProbe == nil || ready
	s.result.Ready = s.result.Started && c.ReadinessProbe == nil || ready
	m.running[t.ID] = s
	started := make(chan struct{})
	if s.result.Started {
		close(started)
	} else {
		m.loop(live, t, Startup, c.StartupProbe, nil, func() { close(started) })
	}
	if c.ReadinessProbe != nil {
		m.loop(ctx, t, Readiness, c.ReadinessProbe, started, nil)
	}
	if c.LivenessProbe != nil {
		m.loop(live, t, Liveness, c.LivenessProbe, started, nil)
	}
}

// Ending stops the startup and liveness probes of a pod that is being ended; its readiness is still asked for.
func (m *Manager) Ending(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.running {
		if s.uid == uid {
			s.alive()
		}
	}
}

// Forget ends the probes of a container.
func (m *Manager) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.running[id]; s != nil {
		s.alive()
		s.cancel()
		delete(m.running, id)
	}
}

// Result of a container's probes; ok is false when it is not probed.
func (m *Manager) Result(id string) (plan.Probe, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.running[id]; s != nil {
		return s.result, true
	}
	return plan.Probe{}, false
}

// Counts of probes so far, for metrics.
func (m *Manager) Counts() map[Count]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[Count]uint64, len(m.counts))
	for k, v := range m.counts {
		out[k] = v
	}
	return out
}

// Gone forgets the counts of a pod that is gone.
func (m *Manager) Gone(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.counts {
		if c.UID == uid {
			delete(m.counts, c)
		}
	}
}

// loop runs one probe until ctx ends, or it has nothing more to say.
func (m *Manager) loop(ctx context.Context, t Target, kind string, p *corev1.Probe, gate <-chan struct{}, passed func()) {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		timer := time.NewTimer(max(0, time.Until(t.StartedAt.Add(time.Duration(p.InitialDelaySeconds)*time.Second))))
		defer timer.Stop()
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				return
			}
		}
		period := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
		failures, successes := 0, 0
		for {
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			timer.Reset(period)
			if m.once(ctx, t, kind, p) {
				failures, successes = 0, successes+1
			} else {
				failures, successes = failures+1, 0
			}
			if ctx.Err() != nil {
				return
			}
			switch {
			case successes >= int(max(p.SuccessThreshold, 1)):
				m.set(t, kind, p, true)
				if kind == Startup {
					passed()
					return
				}
			case failures >= int(max(p.FailureThreshold, 1)):
				m.set(t, kind, p, false)
				if kind != Readiness {
					return // the container is killed, and its successor probed anew
				}
			}
		}
	}()
}

// set notes the outcome and wakes the worker if it changes anything.
func (m *Manager) set(t Target, kind string, p *corev1.Probe, ok bool) {
	m.mu.Lock()
	s := m.running[t.ID]
	if s == nil {
		m.mu.Unlock()
		return
	}
	before := s.result
	switch {
	case kind == Readiness:
		s.result.Ready = ok
	case !ok:
		s.result.Failed, s.result.Grace = kind, p.TerminationGracePeriodSeconds
	case kind == Startup:
		s.result.Started = true
		if t.Container.ReadinessProbe == nil {
			s.result.Ready = true
		}
	}
	changed := before != s.result
	m.mu.Unlock()
	if changed {
		m.cfg.Changed(s.uid)
	}
}

// once probes once and records what users should see.
func (m *Manager) once(ctx context.Context, t Target, kind string, p *corev1.Probe) bool {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	cctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begun := time.Now()
	out := m.cfg.Exec.probe(cctx, t, &p.ProbeHandler, timeout)
	if ctx.Err() != nil {
		return false
	}
	if m.cfg.Took != nil {
		m.cfg.Took(t.Pod, t.Container.Name, title(kind), time.Since(begun))
	}
	m.mu.Lock()
	m.counts[Count{t.Pod.Namespace, t.Pod.Name, t.Container.Name, title(kind), out.result(), t.Pod.UID}]++
	m.mu.Unlock()
	switch {
	case out.err != nil:
		m.event(t, "Unhealthy", fmt.Sprintf("%s probe errored and resulted in unknown state: %v", title(kind), out.err))
	case !out.ok:
		m.event(t, "Unhealthy", fmt.Sprintf("%s probe failed: %s", title(kind), out.text))
	case out.warning:
		m.event(t, "ProbeWarning", fmt.Sprintf("%s probe warning: %s", title(kind), out.text))
	}
	return out.ok && out.err == nil
}

func (m *Manager) event(t Target, reason, message string) {
	if m.cfg.Event != nil {
		m.cfg.Event(t.Pod, t.Container.Name, reason, message)
	}
}

func title(kind string) string { return string(kind[0]-'a'+'A') + kind[1:] }
