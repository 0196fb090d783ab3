package statefulset_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/statefulset"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{statefulset.New(now)}
	})
}

func web(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web"}, Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, ServiceName: "web", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: Template("web")}}
}

// settle plays the kubelet until nothing is left to do.
func settle(w *World) {
	w.T.Helper()
	for range 12 {
		w.Settle()
		w.Run()
		w.Reap()
	}
	w.Settle()
}

func names(w *World) string {
	var out []string
	for _, pod := range List[*corev1.Pod](w) {
		out = append(out, pod.Name+"="+pod.Spec.Containers[0].Image)
	}
	return strings.Join(out, " ")
}

func TestALife(t *testing.T) {
	w := start(t)
	set := Create(w, web(3))
	w.Settle()
	if got := names(w); got != "web-0=image:1" {
		t.Fatalf("at first %s", got)
	}
	settle(w)
	if got := names(w); got != "web-0=image:1 web-1=image:1 web-2=image:1" {
		t.Fatalf("then %s", got)
	}
	pod := Get(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web-1"}})
	if pod.Spec.Hostname != "web-1" || pod.Spec.Subdomain != "web" || pod.Labels["apps.kubernetes.io/pod-index"] != "1" {
		t.Errorf("pod %+v", pod)
	}
	first := Get(w, set).Status.CurrentRevision
	w.Idle()

	partition := int32(2)
	Mutate(w, set, "", func(s *appsv1.StatefulSet) {
		s.Spec.Template.Spec.Containers[0].Image = "image:2"
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	settle(w)
	if got := names(w); got != "web-0=image:1 web-1=image:1 web-2=image:2" {
		t.Errorf("with a partition %s", got)
	}
	if s := Get(w, set).Status; s.CurrentRevision != first || s.UpdateRevision == first || s.CurrentReplicas != 2 || s.UpdatedReplicas != 1 {
		t.Errorf("with a partition: status %+v", s)
	}
	w.Env.Delete(pod, &metav1.DeleteOptions{})
	settle(w)
	if got := names(w); got != "web-0=image:1 web-1=image:1 web-2=image:2" {
		t.Errorf("after a deletion below the partition %s", got)
	}
	partition = 0
	Mutate(w, set, "", func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &partition })
	settle(w)
	if s := Get(w, set).Status; s.CurrentRevision != s.UpdateRevision || s.CurrentReplicas != 3 || s.AvailableReplicas != 3 {
		t.Errorf("status %+v", s)
	}
	Mutate(w, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "image:1" })
	settle(w)
	if s := Get(w, set).Status; s.CurrentRevision != first {
		t.Errorf("after the rollback the revision is %s, not %s", s.CurrentRevision, first)
	}
	Mutate(w, set, "", func(s *appsv1.StatefulSet) { *s.Spec.Replicas = 1 })
	settle(w)
	if got := names(w); got != "web-0=image:1" {
		t.Errorf("scaled down: %s", got)
	}
	w.Idle()
}

func TestClaimsOutliveTheirPods(t *testing.T) {
	w := start(t)
	set := web(2)
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}}
	set = Create(w, set)
	settle(w)
	claims := func() (out string) {
		for _, c := range List[*corev1.PersistentVolumeClaim](w) {
			out += fmt.Sprintf("%s/%d ", c.Name, len(c.OwnerReferences))
		}
		return out
	}
	if got := claims(); got != "data-web-0/0 data-web-1/0 " {
		t.Errorf("claims %s", got)
	}
	Mutate(w, set, "", func(s *appsv1.StatefulSet) {
		s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	})
	settle(w)
	if got := claims(); got != "data-web-0/1 data-web-1/1 " {
		t.Errorf("claims that go with the set: %s", got)
	}
	Mutate(w, set, "", func(s *appsv1.StatefulSet) { *s.Spec.Replicas = 1 })
	settle(w)
	if got := claims(); got != "data-web-0/1 data-web-1/1 " {
		t.Errorf("claims after scaling down: %s", got)
	}
	w.Idle()
}

func TestParallelAndAdoption(t *testing.T) {
	w := start(t)
	template := Template("web")
	lone := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web-1", Labels: template.Labels}, Spec: template.Spec})
	Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "other", Labels: template.Labels}, Spec: template.Spec})
	set := web(3)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set = Create(w, set)
	w.Settle()
	if got := names(w); got != "other=image:1 web-0=image:1 web-1=image:1 web-2=image:1" {
		t.Errorf("pods %s", got)
	}
	if ref := metav1.GetControllerOf(Get(w, lone)); ref == nil || ref.UID != set.UID {
		t.Error("the lone pod is not adopted")
	}
	settle(w)
	w.Idle()
}
