package nodelifecycle

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plan is what to write; nil fields are as they should be.
type plan struct {
	conditions   []corev1.NodeCondition
	taints       *[]corev1.Taint // all of the taints that this package owns
	podsNotReady bool
	// evicts: a taint begins to drive pods away. waits: it would, but must not yet.
	evicts, waits bool
}

// String prints a plan, one line a thing to do.
func (p plan) String() string {
	var b strings.Builder
	for _, c := range p.conditions {
		fmt.Fprintf(&b, "condition %s=%s %s\n", c.Type, c.Status, c.Reason)
	}
	if p.taints != nil {
		b.WriteString("taints")
		for _, t := range *p.taints {
			fmt.Fprintf(&b, " %s:%s", strings.TrimPrefix(t.Key, "node.kubernetes.io/"), t.Effect)
		}
		b.WriteString("\n")
	}
	for _, line := range []struct {
		is   bool
		text string
	}{{p.podsNotReady, "mark its pods not ready"}, {p.evicts, "evict"}, {p.waits, "wait to evict"}} {
		if line.is {
			b.WriteString(line.text + "\n")
		}
	}
	return b.String()
}

// permission says whether pods may be driven away from a node (taint NoExecute).
type permission int

const (
	allowed   permission = iota
	held                 // not now; what is driven away already goes on
	withdrawn            // not at all, and a taint that does it is taken back
)

// watched are the conditions that a silent node loses.
var watched = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// owned lists the taints of this package, and the condition and its status that set each.
var owned = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
	effects   []corev1.TaintEffect
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
}

// decide says what a node's silence, if it has lasted too long, and its conditions mean.
func decide(node *corev1.Node, silent bool, evict permission, now metav1.Time) plan {
	var p plan
	conditions := node.Status.Conditions
	if silent {
		conditions = unknown(conditions, now)
	}
	if !equal(conditions, node.Status.Conditions) {
		p.conditions = conditions
	}
	taints := wantedTaints(conditions, node.Spec.Unschedulable, now)
	if begins := slices.ContainsFunc(taints, evicting) && !slices.ContainsFunc(ownedTaints(node.Spec.Taints), evicting); begins {
		p.evicts, p.waits = evict == allowed, evict != allowed
	}
	if p.waits || evict == withdrawn {
		taints = slices.DeleteFunc(taints, evicting)
	}
	if !sameTaints(ownedTaints(node.Spec.Taints), taints) {
		p.taints = &taints
	}
	wasReady := statusOf(node.Status.Conditions, corev1.NodeReady) == corev1.ConditionTrue
	p.podsNotReady = statusOf(conditions, corev1.NodeReady) != corev1.ConditionTrue && (wasReady || p.taints != nil)
	return p
}

func evicting(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }

func unknown(have []corev1.NodeCondition, now metav1.Time) []corev1.NodeCondition {
	want := slices.Clone(have)
	for _, kind := range watched {
		i := slices.IndexFunc(want, func(c corev1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			want = append(want, corev1.NodeCondition{Type: kind, Status: corev1.ConditionUnknown, LastTransitionTime: now,
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status."})
		case want[i].Status != corev1.ConditionUnknown:
			want[i].Status, want[i].LastTransitionTime = corev1.ConditionUnknown, now
			want[i].Reason, want[i].Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
		}
	}
	return want
}

func statusOf(conditions []corev1.NodeCondition, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}

func wantedTaints(conditions []corev1.NodeCondition, unschedulable bool, now metav1.Time) []corev1.Taint {
	var want []corev1.Taint
	for _, o := range owned {
		status := statusOf(conditions, o.condition)
		if o.condition == corev1.NodeReady && status == "" {
			status = corev1.ConditionUnknown
			if o.status == corev1.ConditionFalse { // a new node that said nothing yet is not ready, but not unreachable
				want = append(want, corev1.Taint{Key: o.key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &now})
			}
			continue
		}
		if status == o.status {
			for _, effect := range o.effects {
				want = append(want, corev1.Taint{Key: o.key, Effect: effect, TimeAdded: &now})
			}
		}
	}
	if unschedulable {
		want = append(want, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &now})
	}
	return want
}

func isOwned(t corev1.Taint) bool {
	if t.Key == corev1.TaintNodeUnschedulable {
		return true
	}
	for _, o := range owned {
		if o.key == t.Key {
			return true
		}
	}
	return false
}

func ownedTaints(taints []corev1.Taint) (out []corev1.Taint) {
	for _, t := range taints {
		if isOwned(t) {
			out = append(out, t)
		}
	}
	return out
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for _, t := range a {
		if !slices.ContainsFunc(b, func(o corev1.Taint) bool { return o.MatchTaint(&t) }) {
			return false
		}
	}
	return true
}

// mergeTaints replaces the owned taints in have by want; a taint that stays keeps the time it was added.
func mergeTaints(have, want []corev1.Taint) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range have {
		if !isOwned(t) || slices.ContainsFunc(want, func(w corev1.Taint) bool { return w.MatchTaint(&t) }) {
			out = append(out, t)
		}
	}
	for _, t := range want {
		if !slices.ContainsFunc(out, func(o corev1.Taint) bool { return o.MatchTaint(&t) }) {
			out = append(out, t)
		}
	}
	return out
}
