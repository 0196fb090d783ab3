package plan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ReasonRestartingAll is why a container waits, or was ended, because the pod begins anew (KEP-5532).
const ReasonRestartingAll = "RestartingAllContainers"

// ruleFor is the first rule of a container that its exit code matches; nil if none does.
func ruleFor(c *corev1.Container, code int) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		r := &c.RestartPolicyRules[i]
		if e := r.ExitCodes; e != nil && slices.Contains(e.Values, int32(code)) == (e.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return r
		}
	}
	return nil
}

// RestartsAll says whether the end of a container with this code makes its whole pod begin anew.
func RestartsAll(c *corev1.Container, code int) bool {
	r := ruleFor(c, code)
	return r != nil && r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// beginsAnew says whether a container has ended so that all others have to.
func (d *decider) beginsAnew() (yes bool) {
	d.eachMain(func(c *corev1.Container, a *Attempt) {
		yes = yes || a.State == Exited && a.Current && RestartsAll(c, a.ExitCode)
	})
	return yes
}

// reset ends what runs at once and without hooks, and then takes all containers for never started, so that the pod begins with its init
// containers again. Sandbox and volumes stay.
func (d *decider) reset() {
	rest := false
	d.eachMain(func(c *corev1.Container, a *Attempt) {
		if a.State == Running {
			rest = true
			d.do(Step{Verb: Kill, Container: c.Name, ID: a.ID, Until: d.now, Why: "Stopping container " + c.Name + ": all containers of the pod restart"})
		}
	})
	if !rest && !d.starting() {
		d.do(Step{Verb: Reset})
	}
}

// eachMain calls f with the newest attempt of each init and regular container that has one.
func (d *decider) eachMain(f func(c *corev1.Container, a *Attempt)) {
	for _, list := range [][]corev1.Container{d.pod.Spec.InitContainers, d.pod.Spec.Containers} {
		for i := range list {
			if a := d.newest(list[i].Name); a != nil {
				f(&list[i], a)
			}
		}
	}
}
