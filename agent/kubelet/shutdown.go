package kubelet

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
)

// Logind tells when the machine is about to go down, and holds that up for a time; package logind does.
type Logind interface {
	// Delay is how long the machine waits for those who hold it up.
	Delay() (time.Duration, error)
	// SetDelay makes it wait longer.
	SetDelay(time.Duration) error
	// Inhibit holds a shutdown up until it is closed.
	Inhibit() (io.Closer, error)
	// Shutdowns delivers true when the machine is going down, and false when it is not after all. It is closed when the connection is lost.
	Shutdowns() (<-chan bool, error)
	Close() error
}

const (
	// logindAgain is how long the node waits before it looks for logind again.
	logindAgain = time.Minute
	// lastReport is how long a shutdown waits for the last statuses to be written, at most.
	lastReport = 2 * time.Second

	shutdownMessage = "Pod was terminated in response to imminent node shutdown."
)

// shutdown ends the pods in order when the machine goes down. Without logind it does nothing: pods are then ended by whatever ends the machine.
func (k *Kubelet) shutdown(ctx context.Context) error {
	if k.cfg.ShutdownGrace <= 0 || k.cfg.Logind == nil {
		<-ctx.Done()
		return nil
	}
	told := false
	for ctx.Err() == nil {
		err := k.awaitShutdown(ctx)
		if ctx.Err() == nil && !told {
			told = true
			k.cfg.Log.Warn("the node cannot hold up a shutdown of the machine to end its pods", "err", err)
		}
		sleep(ctx, logindAgain)
	}
	return nil
}

// awaitShutdown holds up shutdowns until the connection is lost.
func (k *Kubelet) awaitShutdown(ctx context.Context) error {
	bus, err := k.cfg.Logind()
	if err != nil {
		return err
	}
	defer bus.Close()
	if err := k.askForTime(ctx, bus); err != nil {
		return err
	}
	lock, err := bus.Inhibit()
	if err != nil {
		return err
	}
	defer func() {
		if lock != nil {
			lock.Close()
		}
	}()
	events, err := bus.Shutdowns()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case down, ok := <-events:
			if !ok {
				return fmt.Errorf("logind is gone")
			}
			k.node.setShuttingDown(down)
			if !down {
				k.events.onNode(corev1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown cancellation")
				if lock == nil {
					if lock, err = bus.Inhibit(); err != nil {
						return err
					}
				}
				continue
			}
			k.events.onNode(corev1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown event")
			k.endPods(ctx)
			if lock != nil {
				lock.Close()
				lock = nil
			}
		}
	}
}

// askForTime makes the machine wait as long as pods may take.
func (k *Kubelet) askForTime(ctx context.Context, bus Logind) error {
	have, err := bus.Delay()
	if err != nil || have >= k.cfg.ShutdownGrace {
		return err
	}
	if err := bus.SetDelay(k.cfg.ShutdownGrace); err != nil {
		return err
	}
	for wait := 100 * time.Millisecond; wait < 5*time.Second; wait *= 2 { // logind reads its configuration when it likes
		sleep(ctx, wait)
		if have, err = bus.Delay(); err != nil || have >= k.cfg.ShutdownGrace {
			return err
		}
	}
	return fmt.Errorf("the machine waits %v for a shutdown and not the %v that were asked for", have, k.cfg.ShutdownGrace)
}

// shutdownGroup are pods that end together, and how long they have.
type shutdownGroup struct {
	grace time.Duration
	pods  []*worker
}

// shutdownGroups are the ordinary pods first, then the critical ones; each group has its own part of the time. It is pure but for reading workers.
func shutdownGroups(workers []*worker, all, critical time.Duration) []shutdownGroup {
	groups := []shutdownGroup{{grace: all - critical}, {grace: critical}}
	for _, w := range workers {
		p := w.current().Spec.Priority
		i := 0
		if p != nil && *p >= systemCritical {
			i = 1
		}
		groups[i].pods = append(groups[i].pods, w)
	}
	return groups
}

// systemCritical is the priority from which a pod is critical.
const systemCritical = 2_000_000_000

// endPods ends all pods, group after group, and returns when they have ended or their time is over.
func (k *Kubelet) endPods(ctx context.Context) {
	for _, g := range shutdownGroups(k.workers(), k.cfg.ShutdownGrace, k.cfg.ShutdownGraceCritical) {
		if len(g.pods) == 0 {
			continue
		}
		for _, w := range g.pods {
			grace := int64(g.grace / time.Second)
			if s := w.current().Spec.TerminationGracePeriodSeconds; s != nil {
				grace = min(grace, *s)
			}
			w.end(plan.Verdict{Reason: "Terminated", Message: shutdownMessage, Grace: &grace, Disruption: corev1.PodReasonTerminationByKubelet})
		}
		gctx, cancel := context.WithTimeout(ctx, g.grace)
		for _, w := range g.pods {
			select {
			case <-w.halted:
			case <-w.ended:
			case <-gctx.Done():
			}
		}
		cancel()
	}
	k.awaitReports(ctx)
}

// admitUnlessDown refuses new pods while the machine goes down.
func (k *Kubelet) admitUnlessDown(p *corev1.Pod, static bool) (*plan.Verdict, []*worker) {
	if k.node.shuttingDown() && p.DeletionTimestamp == nil && p.Status.StartTime == nil {
		return reject("NodeShutdown", "Pod was rejected as the node is shutting down."), nil
	}
	return k.admit(p, static)
}

func (n *node) shuttingDown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

func (n *node) setShuttingDown(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	n.wakeUp()
}

// awaitReports gives the last statuses some time to be written, before the network goes down.
func (k *Kubelet) awaitReports(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastReport)
	defer cancel()
	for _, w := range k.workers() {
		for !w.reported() && ctx.Err() == nil {
			sleep(ctx, 20*time.Millisecond)
		}
	}
}

func (w *worker) reported() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report.done || w.gone
}
