package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// decider carries one decision while it is made.
type decider struct {
	pod  *corev1.Pod
	have Have
	now  time.Time
	plan Plan
}

// Decide returns what to do now for the pod.
func Decide(pod *corev1.Pod, have Have, now time.Time) Plan {
	d := &decider{pod: pod, have: have, now: now, plan: Plan{Waiting: map[string]Waiting{}}}
	d.deadline()
	switch {
	case pod.DeletionTimestamp != nil || have.Removed:
		d.plan.Ended = true
		if v := have.Verdict; v != nil {
			d.plan.Verdict = v
		}
		d.delete()
	case have.Verdict != nil || d.plan.Verdict != nil:
		if have.Verdict != nil {
			d.plan.Verdict = have.Verdict
		}
		d.plan.Ended = true
		d.finish()
	case d.beginsAnew():
		d.reset()
	case d.completed():
		d.plan.Ended = true
		d.finish()
	default:
		d.run()
	}
	return d.plan
}

// DeadlineExceeded is the reason of a pod that was active for too long.
const DeadlineExceeded = "DeadlineExceeded"

// deadline sets the verdict when the pod has been active for too long.
func (d *decider) deadline() {
	s := d.pod.Spec.ActiveDeadlineSeconds
	if s == nil || d.have.StartTime.IsZero() {
		return
	}
	at := d.have.StartTime.Add(time.Duration(*s) * time.Second)
	if d.now.Before(at) {
		d.wake(at)
		return
	}
	if !d.completed() || d.endedAfter(at) {
		d.plan.Verdict = &Verdict{Reason: DeadlineExceeded, Message: "Pod was active on the node longer than the specified deadline"}
	}
}

// endedAfter says whether a container went on past t: then it was the deadline that ended it, however politely it went.
func (d *decider) endedAfter(t time.Time) bool {
	for i := range d.pod.Spec.Containers {
		if a := d.newest(d.pod.Spec.Containers[i].Name); a != nil && a.FinishedAt.After(t) {
			return true
		}
	}
	return false
}

// wake asks to look again at t.
func (d *decider) wake(t time.Time) {
	if d.plan.Wake.IsZero() || t.Before(d.plan.Wake) {
		d.plan.Wake = t
	}
}

// do adds the step, unless it runs already or waits for its next try. It says whether the step is in hand now.
func (d *decider) do(s Step) bool {
	t := d.have.Tasks[s.Key()]
	if !t.Running && t.Failure != nil {
		if at := retryAt(s.Verb, t.Failure); d.now.Before(at) {
			d.wake(at)
			return false
		}
	}
	// A running task is named again: a step that is no longer in the plan is cancelled by the worker.
	d.plan.Steps = append(d.plan.Steps, s)
	return true
}

// running says whether the task of this key is in flight.
func (d *decider) running(s Step) bool { return d.have.Tasks[s.Key()].Running }

// newest attempt of a container; nil when it never ran.
func (d *decider) newest(name string) *Attempt {
	if a := d.have.Containers[name]; len(a) > 0 {
		return &a[0]
	}
	return nil
}

// starting says whether anything is about to appear that would have to be killed.
func (d *decider) starting() bool {
	for key, t := range d.have.Tasks {
		if t.Running && (key == string(CreateSandbox) || len(key) > 6 && key[:6] == string(Start)+" ") {
			return true
		}
	}
	return false
}

// delete ends the pod and lets the object go when nothing of it is left.
func (d *decider) delete() {
	if !d.killAll() {
		return
	}
	left := false
	if s := d.have.Sandbox; s != nil {
		left = true
		d.do(Step{Verb: RemoveSandbox, ID: s.ID})
	}
	if !d.have.TornDown {
		left = true
		d.do(Step{Verb: TearDown})
	}
	if !left && (d.have.Reported || d.have.Removed) {
		d.do(Step{Verb: Delete})
	}
}

// finish ends the pod and keeps its record.
func (d *decider) finish() {
	if !d.killAll() {
		return
	}
	if s := d.have.Sandbox; s != nil && (s.Ready || s.Unconnected) {
		d.do(Step{Verb: StopSandbox, ID: s.ID})
	}
	if !d.have.TornDown {
		d.do(Step{Verb: TearDown})
	}
}
