package nodelifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

var now = metav1.NewTime(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))

func node(ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{Spec: corev1.NodeSpec{Taints: taints}}
	for _, kind := range watched {
		c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse}
		if kind == corev1.NodeReady {
			c.Status = ready
		}
		n.Status.Conditions = append(n.Status.Conditions, c)
	}
	return n
}

func (p plan) keys() map[string]int {
	out := map[string]int{}
	if p.taints != nil {
		for _, t := range *p.taints {
			out[t.Key]++
		}
	}
	return out
}

func TestAHealthyNodeIsLeftAlone(t *testing.T) {
	p := decide(node(corev1.ConditionTrue), false, allowed, now)
	if p.conditions != nil || p.taints != nil || p.podsNotReady {
		t.Errorf("plan %+v; want none", p)
	}
}

func TestASilentNodeBecomesUnknown(t *testing.T) {
	n := node(corev1.ConditionTrue)
	p := decide(n, true, allowed, now)
	if statusOf(p.conditions, corev1.NodeReady) != corev1.ConditionUnknown || !p.podsNotReady {
		t.Errorf("plan %+v", p)
	}
	if p.keys()[corev1.TaintNodeUnreachable] != 2 {
		t.Errorf("taints %v; want unreachable NoSchedule and NoExecute", p.keys())
	}
	// Law: after the plan is applied there is nothing left to do.
	n.Status.Conditions, n.Spec.Taints = p.conditions, mergeTaints(n.Spec.Taints, *p.taints)
	if again := decide(n, true, allowed, now); again.conditions != nil || again.taints != nil || again.podsNotReady {
		t.Errorf("second plan %+v; want none", again)
	}
}

func TestANodeThatIsBackLosesItsTaintsOnly(t *testing.T) {
	mine := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
	n := node(corev1.ConditionTrue, mine,
		corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
		corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	p := decide(n, false, allowed, now)
	if p.taints == nil || len(*p.taints) != 0 {
		t.Fatalf("plan %+v; want to drop the taints", p)
	}
	if left := mergeTaints(n.Spec.Taints, *p.taints); len(left) != 1 || left[0] != mine {
		t.Errorf("left %v; want the user's own taint", left)
	}
}

func TestTaintsFollowConditions(t *testing.T) {
	n := node(corev1.ConditionFalse)
	n.Spec.Unschedulable = true
	condition(n, corev1.NodeDiskPressure).Status = corev1.ConditionTrue
	keys := decide(n, false, allowed, now).keys()
	for key, count := range map[string]int{corev1.TaintNodeNotReady: 2, corev1.TaintNodeDiskPressure: 1, corev1.TaintNodeUnschedulable: 1} {
		if keys[key] != count {
			t.Errorf("%s: %d taints, want %d", key, keys[key], count)
		}
	}
}

func TestATaintThatStaysKeepsItsTime(t *testing.T) {
	before := metav1.NewTime(now.Add(-time.Hour))
	have := []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute, TimeAdded: &before}}
	got := mergeTaints(have, wantedTaints(node(corev1.ConditionFalse).Status.Conditions, false, now))
	if !got[0].TimeAdded.Equal(&before) {
		t.Errorf("time %v; want %v, or pods would never be evicted", got[0].TimeAdded, before)
	}
}

// Objects of a scenario: nodes; those with the annotation "silent" have said nothing for too long. The plans of 40 s, every 10 s.
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		var nodes []*corev1.Node
		for _, obj := range objects {
			nodes = append(nodes, obj.(*corev1.Node))
		}
		silent := func(n *corev1.Node) bool { return n.Annotations["silent"] != "" }
		var b strings.Builder
		limits := limiter{}
		for after := time.Duration(0); after <= 40*time.Second; after += 10 * time.Second {
			now := controllertest.ScenarioNow.Add(after)
			for _, n := range nodes {
				zones := countNodes(nodes, silent)
				evict := held
				if wait, ok := limits.wait(zoneOf(n), DefaultEviction.rate(zones[zoneOf(n)]), now); ok && wait == 0 {
					evict = allowed
				}
				if DefaultEviction.allDown(zones) {
					evict = withdrawn
				}
				p := decide(n, silent(n), evict, metav1.NewTime(now))
				if p.evicts {
					limits.take(zoneOf(n), now)
				}
				p.waits = p.waits && after == 0 // said once
				if text := p.String(); text != "" {
					fmt.Fprintf(&b, "%v %s\n  %s\n", after, n.Name, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  "))
				}
				if p.conditions != nil {
					n.Status.Conditions = p.conditions
				}
				if p.taints != nil {
					n.Spec.Taints = mergeTaints(n.Spec.Taints, *p.taints)
				}
			}
		}
		return b.String()
	})
}

func TestZoneStates(t *testing.T) {
	for _, c := range []struct {
		ready, notReady int
		state           zoneState
		rate            float64
	}{
		{3, 0, normal, 0.1}, {1, 1, normal, 0.1}, {1, 2, normal, 0.1}, {0, 1, fullDisruption, 0.1}, {1, 3, partialDisruption, 0},
		{3, 3, normal, 0.1}, {9, 11, partialDisruption, 0}, {19, 31, partialDisruption, 0}, {20, 31, partialDisruption, 0.01}, {24, 27, normal, 0.1},
		{0, 60, fullDisruption, 0.1},
	} {
		n := count{c.ready, c.notReady}
		if got := DefaultEviction.state(n); got != c.state || DefaultEviction.rate(n) != c.rate {
			t.Errorf("%+v: %s at %v; want %s at %v", n, got, DefaultEviction.rate(n), c.state, c.rate)
		}
	}
}
