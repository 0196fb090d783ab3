package disruption_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/deployment"
	"codeberg.org/skiff/skiff/server/controller/disruption"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/replicaset"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{disruption.New(now), disruption.NewStale(now), deployment.New(now), replicaset.New(now)}
	})
}

func budget(change func(*policyv1.PodDisruptionBudgetSpec)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	change(&b.Spec)
	return b
}

func TestABudgetOfADeployment(t *testing.T) {
	w := start(t)
	four := int32(4)
	d := Create(w, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &four, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: Template("web")}})
	half := intstr.FromString("50%")
	b := Create(w, budget(func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = &half }))
	w.Settle()
	w.Run()
	w.Settle()
	want := func(expected, healthy, desired, allowed int32) {
		t.Helper()
		if s := Get(w, b).Status; s.ExpectedPods != expected || s.CurrentHealthy != healthy || s.DesiredHealthy != desired || s.DisruptionsAllowed != allowed || s.ObservedGeneration != 1 {
			t.Errorf("status %+v, want %d %d %d %d", s, expected, healthy, desired, allowed)
		}
	}
	want(4, 4, 2, 2)
	// A rollout has two ReplicaSets, which are still one Deployment.
	Mutate(w, d, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "image:2" })
	w.Settle()
	want(4, int32(len(List[*corev1.Pod](w)))-2, 2, 1)
	w.Idle()
}

func TestWithoutAScaleNothingMayGo(t *testing.T) {
	w := start(t)
	one := intstr.FromInt32(1)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p", Labels: map[string]string{"app": "web"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "u", Controller: new(bool)}}}, Spec: Template("web").Spec}
	*pod.OwnerReferences[0].Controller = true
	owner := Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "c"}})
	pod.OwnerReferences[0].UID = owner.UID
	Create(w, pod)
	b := Create(w, budget(func(s *policyv1.PodDisruptionBudgetSpec) { s.MaxUnavailable = &one }))
	w.Settle()
	s := Get(w, b).Status
	if len(s.Conditions) != 1 || s.Conditions[0].Reason != policyv1.SyncFailedReason || s.Conditions[0].Message != "configmaps does not implement the scale subresource" {
		t.Errorf("status %+v", s)
	}
	w.Idle()
}

func TestADisruptionThatDidNotHappen(t *testing.T) {
	w := start(t)
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p", Labels: map[string]string{"app": "web"}}, Spec: Template("web").Spec})
	Mutate(w, pod, "status", func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: metav1.NewTime(w.Now())}}
	})
	w.Settle()
	w.Advance(3 * time.Minute)
	w.Settle()
	if c := Get(w, pod).Status.Conditions; len(c) != 1 || c[0].Status != corev1.ConditionFalse {
		t.Errorf("conditions %+v", c)
	}
	w.Idle()
}
