package nodelifecycle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	p := decide(node(corev1.ConditionTrue), false, true, now)
	if p.conditions != nil || p.taints != nil || p.podsNotReady {
		t.Errorf("plan %+v; want none", p)
	}
}

func TestASilentNodeBecomesUnknown(t *testing.T) {
	n := node(corev1.ConditionTrue)
	p := decide(n, true, true, now)
	if statusOf(p.conditions, corev1.NodeReady) != corev1.ConditionUnknown || !p.podsNotReady {
		t.Errorf("plan %+v", p)
	}
	if p.keys()[corev1.TaintNodeUnreachable] != 2 {
		t.Errorf("taints %v; want unreachable NoSchedule and NoExecute", p.keys())
	}
	// Law: after the plan is applied there is nothing left to do.
	n.Status.Conditions, n.Spec.Taints = p.conditions, mergeTaints(n.Spec.Taints, *p.taints)
	if again := decide(n, true, true, now); again.conditions != nil || again.taints != nil || again.podsNotReady {
		t.Errorf("second plan %+v; want none", again)
	}
}

func TestANodeThatIsBackLosesItsTaintsOnly(t *testing.T) {
	mine := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
	n := node(corev1.ConditionTrue, mine,
		corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
		corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	p := decide(n, false, true, now)
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
	keys := decide(n, false, true, now).keys()
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
