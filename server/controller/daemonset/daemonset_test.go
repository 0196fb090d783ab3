package daemonset_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/daemonset"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{daemonset.New(now)}
	})
}

func daemon(w *World) *appsv1.DaemonSet {
	return Create(w, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "ds"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "ds"}}, Template: Template("ds")}})
}

// node makes a node without the taint that new ones have until they are ready.
func node(w *World, name string) *corev1.Node {
	return Mutate(w, w.Node(name), "", func(n *corev1.Node) { n.Spec.Taints = nil })
}

// schedule binds each pod to the node that it names, and lets it run.
func schedule(w *World) {
	for _, pod := range List[*corev1.Pod](w) {
		if pod.Spec.NodeName == "" {
			w.Bind(pod, pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0])
		}
	}
	w.Run()
}

func settle(w *World) {
	w.T.Helper()
	for range 8 { // each step of a rollout needs the kubelet
		w.Settle()
		schedule(w)
		w.Reap()
	}
	w.Settle()
}

func TestARolloutAndBack(t *testing.T) {
	w := start(t)
	for i := range 3 {
		node(w, fmt.Sprintf("n%d", i))
	}
	ds := daemon(w)
	settle(w)
	if s := Get(w, ds).Status; s.DesiredNumberScheduled != 3 || s.NumberAvailable != 3 || s.UpdatedNumberScheduled != 3 || s.ObservedGeneration != 1 {
		t.Fatalf("status %+v", s)
	}
	w.Idle()
	first := List[*appsv1.ControllerRevision](w)
	Mutate(w, ds, "", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = "image:2" })
	settle(w)
	for _, pod := range List[*corev1.Pod](w) {
		if pod.Spec.Containers[0].Image != "image:2" {
			t.Errorf("%s runs %s", pod.Name, pod.Spec.Containers[0].Image)
		}
	}
	Mutate(w, ds, "", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = "image:1" })
	settle(w)
	revisions := List[*appsv1.ControllerRevision](w)
	if len(first) != 1 || len(revisions) != 2 {
		t.Fatalf("%d revisions, then %d", len(first), len(revisions))
	}
	if r := Get(w, first[0]); r.Revision != 3 {
		t.Errorf("the first revision has number %d after the rollback", r.Revision)
	}
	if s := Get(w, ds).Status; s.UpdatedNumberScheduled != 3 || s.NumberAvailable != 3 {
		t.Errorf("status %+v", s)
	}
	w.Idle()
}

func TestHistoryLimit(t *testing.T) {
	w := start(t)
	node(w, "n")
	ds := daemon(w)
	Mutate(w, ds, "", func(ds *appsv1.DaemonSet) { *ds.Spec.RevisionHistoryLimit = 1 })
	settle(w)
	for i := range 4 {
		Mutate(w, ds, "", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("image:%d", i+2) })
		settle(w)
	}
	if n := len(List[*appsv1.ControllerRevision](w)); n != 2 {
		t.Errorf("%d revisions, want the current and one old one", n)
	}
	w.Idle()
}

func TestLabelsThatFlip(t *testing.T) {
	w := start(t)
	n := node(w, "n")
	ds := Create(w, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "ds"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "ds"}}, Template: Template("ds")}})
	Mutate(w, ds, "", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"color": "blue"} })
	for _, color := range []string{"blue", "green", "blue", "red"} {
		Mutate(w, n, "", func(n *corev1.Node) { n.Labels = map[string]string{"color": color} })
		settle(w)
		want := 0
		if color == "blue" {
			want = 1
		}
		if n := len(List[*corev1.Pod](w)); n != want {
			t.Errorf("%s: %d pods", color, n)
		}
	}
	w.Idle()
}

func TestFailedPodsComeBackSlower(t *testing.T) {
	w := start(t)
	node(w, "n")
	daemon(w)
	settle(w)
	seen := map[string]bool{}
	for range 3 {
		pod := List[*corev1.Pod](w)[0]
		if seen[pod.Name] {
			t.Fatalf("%s was not replaced", pod.Name)
		}
		seen[pod.Name] = true
		w.Finish(pod, 1)
		w.Settle()
		w.Advance(5 * time.Second)
		settle(w)
	}
	w.Idle()
}
