package replica

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
	if change != nil {
		change(p)
	}
	return p
}

// Each of these goes before a plain pod, in this order.
func TestWhoGoesFirst(t *testing.T) {
	order := []*corev1.Pod{
		pod("unbound", func(p *corev1.Pod) { p.Spec.NodeName = "" }),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		pod("not-ready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		pod("cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} }),
		pod("doubled", func(p *corev1.Pod) { p.Spec.NodeName = "crowded" }),
		pod("fresh", func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Minute)) }),
		pod("restarted", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }),
		pod("young", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }),
		pod("plain", nil),
	}
	got := make([]*corev1.Pod, 0, len(order))
	for i := range order { // any other order than the right one
		got = append(got, order[(i*4+5)%len(order)])
	}
	rank(got, map[string]int{"crowded": 3, "n": 1}, now)
	for i := range order {
		if got[i] != order[i] {
			t.Errorf("%d: %s, want %s", i, got[i].Name, order[i].Name)
		}
	}
}

// Law: deciding again after the plan was carried out plans nothing.
func TestSecondPlanIsEmpty(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "rs", UID: "rs"}}
	set := Set{Object: rs, GVK: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), Selector: labels.SelectorFromSet(labels.Set{"app": "x"}),
		Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}}}
	for replicas := range 6 {
		for have := range 6 {
			set.Replicas = replicas
			var pods []*corev1.Pod
			for i := range have {
				pods = append(pods, pod(string(rune('a'+i)), func(p *corev1.Pod) {
					p.Labels = map[string]string{"app": "x"}
					if i%3 == 1 {
						p.Labels["app"] = "y"
					}
					if i%3 != 2 {
						p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, set.GVK)}
					}
				}))
			}
			if again := Decide(set, carryOut(set, pods, Decide(set, pods, nil, now)), nil, now); again.String() != "" {
				t.Errorf("%d pods of %d: the second plan is\n%s", have, replicas, again)
			}
		}
	}
}

func carryOut(set Set, pods []*corev1.Pod, p Plan) (next []*corev1.Pod) {
	gone := map[*corev1.Pod]bool{}
	for _, pod := range p.Delete {
		gone[pod] = true
	}
	for _, pod := range p.Adopt {
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set.Object, set.GVK)}
	}
	for _, pod := range p.Release {
		pod.OwnerReferences = nil
	}
	for _, pod := range pods {
		if !gone[pod] {
			next = append(next, pod)
		}
	}
	for range p.Create {
		made := PodOf(set.Template, set.Object, *metav1.NewControllerRef(set.Object, set.GVK))
		made.Status.Phase = corev1.PodPending
		next = append(next, made)
	}
	return next
}
