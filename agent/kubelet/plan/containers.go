package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Restarts says whether a container that ended with this code runs again, by its own rules, its policy, and the pod's.
func Restarts(pod *corev1.Pod, c *corev1.Container, code int) bool {
	if ruleFor(c, code) != nil {
		return true
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// again says whether an ended attempt is followed by another.
func (d *decider) again(c *corev1.Container, a *Attempt, init bool) bool {
	if a.Image != "" && a.Image != c.Image && !init {
		return true // the pod was given another image: it starts whatever the policy says
	}
	if stoppedForResize(c, a) || a.Reset {
		return true
	}
	if d.have.Probes[a.ID].Failed != "" && d.pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		return true
	}
	if init && !isSidecar(c) {
		// An init container is done when it succeeds; Always means "until it succeeds".
		return a.ExitCode != 0 && Restarts(d.pod, c, a.ExitCode)
	}
	return Restarts(d.pod, c, a.ExitCode)
}

// completed says whether no container of the pod will run again: all have ended for good, or an init container failed for good.
func (d *decider) completed() bool {
	for i := range d.pod.Spec.InitContainers {
		c := &d.pod.Spec.InitContainers[i]
		a := d.newest(c.Name)
		if isSidecar(c) || a == nil || a.State != Exited {
			continue
		}
		if a.ExitCode != 0 && !d.again(c, a, true) && !d.initialized() {
			return true
		}
	}
	for i := range d.pod.Spec.Containers {
		c := &d.pod.Spec.Containers[i]
		a := d.newest(c.Name)
		if a == nil || a.State != Exited || d.again(c, a, false) {
			return false
		}
	}
	return true
}

// initialized: a regular container ran in this sandbox, so the init containers are behind.
func (d *decider) initialized() bool {
	for i := range d.pod.Spec.Containers {
		if a := d.newest(d.pod.Spec.Containers[i].Name); a != nil && a.Current {
			return true
		}
	}
	return false
}

// run brings the pod nearer to having all its containers running.
func (d *decider) run() {
	ready := d.prepare()
	d.resize()
	if s := d.have.Sandbox; s != nil && s.Narrow {
		ready = false // cgroup v1 starts no container that has more CPU time than its pod
	}
	for i := range d.pod.Spec.EphemeralContainers {
		c := corev1.Container(d.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if d.newest(c.Name) == nil {
			d.start(&c, ready, true)
		}
	}
	if !d.inits(ready) {
		return
	}
	free := ready
	for i := range d.pod.Spec.Containers {
		// One after the other: a postStart hook holds back the containers after its own.
		if d.container(&d.pod.Spec.Containers[i], free, false) == inHand {
			free = false
		}
	}
}

// prepare sets up volumes and the sandbox; it says whether containers may be started.
func (d *decider) prepare() bool {
	ready := true
	if !d.have.Volumes {
		ready = false
		d.do(Step{Verb: SetUpVolumes})
	} else if d.running(Step{Verb: SetUpVolumes}) {
		d.do(Step{Verb: SetUpVolumes})
	}
	switch s := d.have.Sandbox; {
	case s != nil && s.Ready:
		return ready
	case s != nil && s.Unconnected && d.used():
		// A daemon that has just started may not know its network yet. That is no reason to kill what runs.
		d.do(Step{Verb: Connect, ID: s.ID})
	default:
		d.do(Step{Verb: CreateSandbox, Attempt: d.have.LastSandboxAttempt + 1})
	}
	return false
}

// used says whether a container runs, or has run, in the sandbox.
func (d *decider) used() bool {
	for _, attempts := range d.have.Containers {
		if slices.ContainsFunc(attempts, func(a Attempt) bool { return a.Current }) {
			return true
		}
	}
	return false
}

// inits walks the init containers; it says whether the regular ones may go on.
func (d *decider) inits(ready bool) bool {
	done := d.initialized()
	for i := range d.pod.Spec.InitContainers {
		c := &d.pod.Spec.InitContainers[i]
		if isSidecar(c) {
			got := d.container(c, ready, true)
			if a := d.newest(c.Name); !done && (got != runs || !d.have.Probes[a.ID].Started) {
				return false
			}
			continue
		}
		if done {
			continue
		}
		a := d.newest(c.Name)
		if a != nil && a.Current && a.State == Exited && a.ExitCode == 0 {
			continue
		}
		d.container(c, ready, true)
		return false
	}
	return true
}

// progress of one container.
type progress int

const (
	blocked progress = iota // waits for time, or ended for good
	inHand                  // is being pulled, started or killed
	runs
)

// container brings one container nearer to running.
func (d *decider) container(c *corev1.Container, ready, init bool) progress {
	a := d.newest(c.Name)
	switch {
	case a == nil:
		return d.start(c, ready, false)
	case a.State == Running:
		return d.keep(c, a, init)
	case !d.again(c, a, init) && (!init || a.Current):
		return blocked
	}
	delay, _ := d.backOff(c, a)
	if at := a.FinishedAt.Add(delay); d.now.Before(at) {
		d.wake(at)
		d.plan.Waiting[c.Name] = Waiting{"CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			delay, c.Name, d.pod.Name, d.pod.Namespace, d.pod.UID)}
		return blocked
	}
	return d.start(c, ready, false)
}

func (d *decider) backOff(c *corev1.Container, last *Attempt) (delay, next time.Duration) {
	if last == nil || last.Image != "" && last.Image != c.Image || stoppedForResize(c, last) {
		return 0, 0
	}
	if !last.Current && !(last.Reset && RestartsAll(c, last.ExitCode)) {
		return 0, last.BackOff
	}
	return crash(*last)
}

// keep leaves a running container alone, or kills it when a probe or a new image says so.
func (d *decider) keep(c *corev1.Container, a *Attempt, init bool) progress {
	p := d.have.Probes[a.ID]
	why := ""
	_, resized := Resized(c, a)
	switch {
	case p.Failed != "":
		why = fmt.Sprintf("Container %s failed %s probe", c.Name, p.Failed)
		if d.pod.Spec.RestartPolicy != corev1.RestartPolicyNever || isSidecar(c) {
			why += ", will be restarted"
		}
	case a.Image != "" && a.Image != c.Image && (!init || isSidecar(c)):
		why = fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)
	case resized:
		why = fmt.Sprintf("Container %s resize requires restart", c.Name)
	case a.HookFailed:
		why = "FailedPostStartHook"
	default:
		if s := (Step{Verb: Start, Container: c.Name, Attempt: a.Attempt, BackOff: a.BackOff}); d.running(s) {
			d.do(s) // its postStart hook runs: it stays in the plan
			return inHand
		}
		return runs
	}
	grace := d.grace()
	if p.Failed != "" && p.Grace != nil {
		grace = time.Duration(*p.Grace) * time.Second
	}
	d.endAlone(c, a, grace, why)
	return inHand
}

// start pulls the image if need be and starts the container when the pod is ready for it.
func (d *decider) start(c *corev1.Container, ready, ephemeral bool) progress {
	if d.have.Images[c.Name] == "" {
		return d.pull(c)
	}
	if !ready {
		return inHand
	}
	last := d.newest(c.Name)
	attempt := 0
	_, next := d.backOff(c, last)
	if last != nil {
		attempt = last.Attempt + 1
	}
	s := Step{Verb: Start, Container: c.Name, Attempt: attempt, BackOff: next}
	if f := d.have.Tasks[s.Key()].Failure; f != nil && !d.running(s) {
		d.plan.Waiting[c.Name] = Waiting{f.Reason, f.Message}
	}
	if d.do(s) {
		return inHand
	}
	return blocked
}

func (d *decider) pull(c *corev1.Container) progress {
	s := Step{Verb: Pull, Container: c.Name}
	t := d.have.Tasks[s.Key()]
	if f := t.Failure; f != nil {
		w := Waiting{f.Reason, f.Message}
		if f.Reason == "ErrImagePull" && (t.Running || !d.now.Before(f.At.Add(showError))) {
			w = Waiting{"ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.Image, f.Message)}
		} else if f.Reason == "ErrImagePull" {
			d.wake(f.At.Add(showError))
		}
		d.plan.Waiting[c.Name] = w
	}
	if d.do(s) {
		return inHand
	}
	return blocked
}
