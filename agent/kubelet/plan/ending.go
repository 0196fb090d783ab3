package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// leastGrace is what the end of a container has at least, also when it is forced.
	leastGrace = time.Second
	// lastWords is what a container has at least between its stop signal and its death, however long its hook and its turn took.
	lastWords = 2 * time.Second
)

// grace of the pod: for all its containers when it ends, or for one that ends alone.
func (d *decider) grace() time.Duration {
	seconds := int64(30)
	if s := d.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := d.pod.DeletionGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if v := d.plan.Verdict; v != nil && v.Grace != nil {
		seconds = min(seconds, *v.Grace)
	}
	return time.Duration(seconds) * time.Second
}

// killAll ends what runs. All preStop hooks begin at once; the stop signal goes to sidecars only when the containers and the sidecars after
// them have ended, or when the time is over. It says whether nothing runs or starts.
func (d *decider) killAll() bool {
	since := d.have.Ending
	if since.IsZero() {
		since = d.now
	}
	until := since.Add(max(d.grace(), leastGrace))
	rest := false
	kill := func(c *corev1.Container, turn bool) (gone bool) {
		a := d.newest(c.Name)
		if a == nil || a.State != Running {
			return true
		}
		rest = true
		d.end(c, a, until, turn, "Stopping container "+c.Name)
		return false
	}
	for i := range d.pod.Spec.EphemeralContainers {
		c := corev1.Container(d.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		kill(&c, true)
	}
	turn := true
	for i := range d.pod.Spec.Containers {
		turn = kill(&d.pod.Spec.Containers[i], true) && turn
	}
	for i := len(d.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &d.pod.Spec.InitContainers[i]
		if !isSidecar(c) {
			kill(c, true)
			continue
		}
		turn = kill(c, turn) && turn
	}
	return !rest && !d.starting()
}

// endAlone ends one container of a pod that goes on, with a grace that counts from when its end began.
func (d *decider) endAlone(c *corev1.Container, a *Attempt, grace time.Duration, why string) {
	since := d.now
	if a.Ending != nil {
		since = a.Ending.Since
	}
	d.end(c, a, since.Add(max(grace, leastGrace)), true, why)
}

// end brings a running container nearer to its end: its hook first, then the stop signal when it is its turn.
func (d *decider) end(c *corev1.Container, a *Attempt, until time.Time, turn bool, why string) {
	over := !d.now.Before(until)
	hooked := c.Lifecycle == nil || c.Lifecycle.PreStop == nil || a.Ending != nil && (a.Ending.PreStopped || !a.Ending.Signalled.IsZero())
	if !over && (!hooked || !turn) {
		d.wake(until)
		if !hooked {
			d.do(Step{Verb: PreStop, Container: c.Name, ID: a.ID, Until: until, Why: why})
		}
		return
	}
	signalled := d.now
	if a.Ending != nil && !a.Ending.Signalled.IsZero() {
		signalled = a.Ending.Signalled
	}
	if least := signalled.Add(lastWords); until.Before(least) {
		until = least
	}
	d.do(Step{Verb: Kill, Container: c.Name, ID: a.ID, Until: until, Why: why})
}
