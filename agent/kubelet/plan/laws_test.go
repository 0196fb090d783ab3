package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestApplyingSettles plays random pods against a world where every step works: the pod must reach a state in which
// nothing is left to do, deciding again must give the same, and a deleted pod must be gone.
func TestApplyingSettles(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		pod := randomPod(r)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		w := world{have: Have{LastSandboxAttempt: -1, StartTime: now, Containers: map[string][]Attempt{}, Images: map[string]string{}, Probes: map[string]Probe{}}}
		settle := func(what string) {
			for i := 0; !w.deleted; i++ {
				p := Decide(pod, w.have, now)
				if len(p.Steps) == 0 {
					if !p.Wake.IsZero() && p.Wake.After(now) {
						now = p.Wake
						if i > 500 {
							return
						}
						continue
					}
					return
				}
				if i > 1000 {
					t.Fatalf("seed %d: %s does not settle:\n%s", seed, what, p)
				}
				for _, s := range p.Steps {
					w.apply(s, r, now)
				}
				now = now.Add(time.Second)
			}
		}
		settle("the pod")
		at := metav1.NewTime(now.Add(30 * time.Second))
		pod.DeletionTimestamp = &at
		w.have.Reported = true
		settle("its deletion")
		if !w.deleted {
			t.Fatalf("seed %d: the pod is not gone: %s", seed, Decide(pod, w.have, now))
		}
	}
}

type world struct {
	have    Have
	n       int
	deleted bool
}

func (w *world) apply(s Step, r *rand.Rand, now time.Time) {
	switch s.Verb {
	case SetUpVolumes:
		w.have.Volumes, w.have.TornDown = true, false
	case CreateSandbox:
		w.have.LastSandboxAttempt = s.Attempt
		w.have.Sandbox = &Sandbox{ID: fmt.Sprint("s", s.Attempt), Attempt: s.Attempt, Ready: true}
	case Pull:
		w.have.Images[s.Container] = "sha"
	case Start:
		delete(w.have.Images, s.Container)
		w.n++
		a := Attempt{ID: fmt.Sprint(s.Container, w.n), Attempt: s.Attempt, Current: true, State: Running, StartedAt: now, BackOff: s.BackOff, Image: "img"}
		w.have.Probes[a.ID] = Probe{Started: true, Ready: true}
		if s.Container[0] == 'i' || r.IntN(3) == 0 { // init containers end, others sometimes
			a.State, a.FinishedAt, a.ExitCode = Exited, now, r.IntN(2)*r.IntN(2)
		}
		w.have.Containers[s.Container] = append([]Attempt{a}, w.have.Containers[s.Container]...)
	case Kill:
		for name, list := range w.have.Containers {
			for i := range list {
				if list[i].ID == s.ID {
					w.have.Containers[name][i].State, list[i].FinishedAt = Exited, now
				}
			}
		}
	case PreStop:
		for _, list := range w.have.Containers {
			for i := range list {
				if list[i].ID == s.ID {
					list[i].Ending = &Ending{Since: now, PreStopped: true}
				}
			}
		}
	case Reset:
		for _, list := range w.have.Containers {
			for i := range list {
				list[i].Current, list[i].Reset = false, true
			}
		}
	case StopSandbox:
		w.have.Sandbox.Ready = false
	case RemoveSandbox:
		w.have.Sandbox = nil
	case TearDown:
		w.have.TornDown, w.have.Volumes = true, false
	case Delete:
		w.deleted = true
	}
}

func randomPod(r *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.UID = "p", "default", "u"
	pod.Spec.RestartPolicy = []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}[r.IntN(3)]
	always := corev1.ContainerRestartPolicyAlways
	for i := range r.IntN(4) {
		c := corev1.Container{Name: fmt.Sprint("i", i), Image: "img"}
		if r.IntN(2) == 0 {
			c.Name, c.RestartPolicy = fmt.Sprint("s", i), &always
		}
		if r.IntN(2) == 0 {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	for i := range 1 + r.IntN(3) {
		c := corev1.Container{Name: fmt.Sprint("c", i), Image: "img"}
		if r.IntN(4) == 0 {
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{1}}}}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}
