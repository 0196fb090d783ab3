package kubelet

import (
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// fakeLogind is a machine that goes down when it is told to.
type fakeLogind struct {
	mu     sync.Mutex
	delay  time.Duration
	locks  int // held now
	taken  int
	events chan bool
}

func (f *fakeLogind) Delay() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay, nil
}

func (f *fakeLogind) SetDelay(d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
	return nil
}

func (f *fakeLogind) Inhibit() (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks++
	f.taken++
	return lock{f}, nil
}

type lock struct{ f *fakeLogind }

func (l lock) Close() error {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.f.locks--
	return nil
}

func (f *fakeLogind) Shutdowns() (<-chan bool, error) { return f.events, nil }
func (f *fakeLogind) Close() error                    { return nil }

func (f *fakeLogind) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locks
}

// TestShutdown: when the machine goes down the node is not ready, takes no pods, ends ordinary pods and then critical ones, and lets the machine go.
func TestShutdown(t *testing.T) {
	r := newRig(t, fakeServer())
	bus := &fakeLogind{delay: 5 * time.Second, events: make(chan bool)}
	r.cfg.ShutdownGrace, r.cfg.ShutdownGraceCritical = 2*time.Hour, time.Hour
	r.cfg.Logind = func() (Logind, error) { return bus, nil }
	r.rt.stubborn = true // containers end when the test says so
	r.start()
	name := func(container string, priority int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Name, p.Spec.Priority = container, &priority
			p.Spec.TerminationGracePeriodSeconds = new(int64(3600))
		}
	}
	r.create(testPod("plain", name("plain", 0)))
	r.create(testPod("critical", name("critical", systemCritical)))
	r.running("plain")
	r.running("critical")
	r.eventually("shutdowns are held up", func() (bool, any) { return bus.held() == 1, bus.held() })
	if d, _ := bus.Delay(); d != 2*time.Hour {
		t.Errorf("the machine waits %v", d)
	}
	bus.events <- true
	asked := func(want ...string) {
		t.Helper()
		r.eventually("asked to stop", func() (bool, any) {
			r.rt.mu.Lock()
			defer r.rt.mu.Unlock()
			return slices.Equal(r.rt.stops, want), r.rt.stops
		})
	}
	asked("plain")
	r.eventually("the node is not ready", func() (bool, any) {
		n := r.k.node.object()
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionFalse && c.Message == "node is shutting down", c
			}
		}
		return false, n.Status
	})
	r.create(testPod("new", nil))
	r.eventually("a new pod is refused", func() (bool, any) {
		s := r.pod("new").Status
		return s.Phase == corev1.PodFailed && s.Reason == "NodeShutdown", s
	})
	if bus.held() != 1 {
		t.Error("the machine may go down before the pods")
	}
	r.rt.crash("plain", 0)
	asked("plain", "critical")
	r.rt.crash("critical", 0)
	r.eventually("the machine may go down", func() (bool, any) { return bus.held() == 0, bus.held() })
	for _, name := range []string{"plain", "critical"} {
		r.eventually(name+" is terminated", func() (bool, any) {
			s := r.pod(name).Status
			return s.Phase == corev1.PodFailed && s.Reason == "Terminated" && s.Message == shutdownMessage && condition(r.pod(name), corev1.DisruptionTarget) == corev1.ConditionTrue, s
		})
	}
	bus.events <- false
	r.eventually("shutdowns are held up again", func() (bool, any) { return bus.held() == 1, bus.held() })
	if got := reasons(r.client, "Node"); !slices.Contains(got, "Shutdown") {
		t.Errorf("events %v", got)
	}
}

func TestShutdownWithoutLogind(t *testing.T) {
	r := newRig(t, fakeServer())
	asked := make(chan struct{}, 100)
	r.cfg.ShutdownGrace = time.Minute
	r.cfg.Logind = func() (Logind, error) { asked <- struct{}{}; return nil, errors.New("no system bus") }
	r.start()
	<-asked
	r.create(testPod("web", nil))
	r.running("web")
}
