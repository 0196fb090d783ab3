package replicaset_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/replicaset"
	"codeberg.org/skiff/skiff/server/controller/replication"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{replicaset.New(now), replication.New(now)}
	})
}

func web(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web"}, Spec: appsv1.ReplicaSetSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: Template("web")}}
}

func TestAdoptsReleasesAndCounts(t *testing.T) {
	w := start(t)
	template := Template("web")
	lone := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "lone", Labels: template.Labels}, Spec: template.Spec})
	rs := Create(w, web(3))
	w.Settle()
	if ref := metav1.GetControllerOf(Get(w, lone)); ref == nil || ref.UID != rs.UID {
		t.Error("the lone pod is not adopted")
	}
	if n := len(List[*corev1.Pod](w)); n != 3 {
		t.Errorf("%d pods, want 3 with the adopted one", n)
	}
	Mutate(w, lone, "", func(p *corev1.Pod) { p.Labels["app"] = "other" })
	w.Settle()
	if metav1.GetControllerOf(Get(w, lone)) != nil {
		t.Error("the pod is not released")
	}
	if n := len(List[*corev1.Pod](w)); n != 4 {
		t.Errorf("%d pods, want 3 and the released one", n)
	}
	w.Run()
	w.Settle()
	if s := Get(w, rs).Status; s.Replicas != 3 || s.ReadyReplicas != 3 || s.AvailableReplicas != 3 || s.FullyLabeledReplicas != 3 || s.ObservedGeneration != rs.Generation {
		t.Errorf("status %+v", s)
	}
	w.Idle()
}

func TestMinReadySeconds(t *testing.T) {
	w := start(t)
	rs := web(2)
	rs.Spec.MinReadySeconds = 30
	rs = Create(w, rs)
	w.Settle()
	w.Run()
	w.Settle()
	if s := Get(w, rs).Status; s.ReadyReplicas != 2 || s.AvailableReplicas != 0 {
		t.Errorf("status %+v", s)
	}
	w.Advance(30 * time.Second)
	w.Settle()
	if s := Get(w, rs).Status; s.AvailableReplicas != 2 {
		t.Errorf("status %+v after 30 s", s)
	}
	w.Idle()
}

func TestQuotaStopsItAndRoomHelps(t *testing.T) {
	w := start(t)
	quota := Create(w, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "q"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("2")}}})
	Mutate(w, quota, "status", func(q *corev1.ResourceQuota) {
		q.Status.Hard, q.Status.Used = q.Spec.Hard, corev1.ResourceList{"pods": resource.MustParse("0")}
	})
	rs := Create(w, web(5))
	w.Eventually(func() string {
		s := Get(w, rs).Status
		if s.Replicas != 2 || len(s.Conditions) != 1 || s.Conditions[0].Reason != "FailedCreate" {
			return fmt.Sprintf("status %+v", s)
		}
		return ""
	})
	Mutate(w, quota, "", func(q *corev1.ResourceQuota) { q.Spec.Hard["pods"] = resource.MustParse("9") })
	Mutate(w, quota, "status", func(q *corev1.ResourceQuota) { q.Status.Hard = q.Spec.Hard })
	w.Eventually(func() string {
		if s := Get(w, rs).Status; s.Replicas != 5 || len(s.Conditions) != 0 {
			return fmt.Sprintf("status %+v", s)
		}
		return ""
	})
	w.Idle()
}

func TestReplicationController(t *testing.T) {
	w := start(t)
	three := int32(3)
	template := Template("rc")
	rc := Create(w, &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "rc"},
		Spec: corev1.ReplicationControllerSpec{Replicas: &three, Selector: map[string]string{"app": "rc"}, Template: &template}})
	w.Settle()
	w.Run()
	w.Settle()
	Mutate(w, rc, "", func(rc *corev1.ReplicationController) { *rc.Spec.Replicas = 1 })
	w.Settle()
	if s := Get(w, rc).Status; s.Replicas != 1 || s.ReadyReplicas != 1 {
		t.Errorf("status %+v", s)
	}
	w.Idle()
}

func TestABurstOfPods(t *testing.T) {
	w := start(t)
	rs := Create(w, web(600)) // more than one reconciliation makes
	w.Settle()
	if n := len(List[*corev1.Pod](w)); n != 600 {
		t.Errorf("%d pods", n)
	}
	Mutate(w, rs, "", func(rs *appsv1.ReplicaSet) { *rs.Spec.Replicas = 0 })
	w.Settle()
	if n := len(List[*corev1.Pod](w)); n != 0 {
		t.Errorf("%d pods left", n)
	}
}
