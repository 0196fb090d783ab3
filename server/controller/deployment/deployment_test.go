package deployment_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/deployment"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/replicaset"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{deployment.New(now), replicaset.New(now)}
	})
}

func web(replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: Template("web")}}
}

func setImage(w *World, d *appsv1.Deployment, image string) {
	w.T.Helper()
	Mutate(w, d, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// images counts the active pods by image.
func images(w *World) map[string]int {
	counts := map[string]int{}
	for _, pod := range List[*corev1.Pod](w) {
		counts[pod.Spec.Containers[0].Image]++
	}
	return counts
}

// rollOut plays the kubelet until the Deployment is complete, and watches over its bounds.
func rollOut(w *World, d *appsv1.Deployment, least, most int) {
	w.T.Helper()
	w.Eventually(func() string {
		available, all := 0, 0
		for _, pod := range List[*corev1.Pod](w) {
			all++
			if pod.Status.Phase == corev1.PodRunning {
				available++
			}
		}
		if available < least || all > most {
			w.T.Fatalf("%d pods available, want at least %d; %d pods, want at most %d", available, least, all, most)
		}
		w.Run()
		got := Get(w, d)
		for _, c := range got.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Reason == "NewReplicaSetAvailable" && got.Status.ObservedGeneration == got.Generation &&
				got.Status.UpdatedReplicas == *got.Spec.Replicas && got.Status.Replicas == *got.Spec.Replicas {
				return ""
			}
		}
		return fmt.Sprintf("not complete: %+v", got.Status)
	})
	w.Settle()
}

func TestRolloutAndRollback(t *testing.T) {
	w := start(t)
	d := Create(w, web(4))
	rollOut(w, d, 0, 4)
	if got := Get(w, d); got.Annotations[deployment.RevisionAnnotation] != "1" || got.Status.AvailableReplicas != 4 {
		t.Errorf("%v %+v", got.Annotations, got.Status)
	}
	setImage(w, d, "image:2")
	rollOut(w, d, 3, 5)
	if got := images(w); !maps.Equal(got, map[string]int{"image:2": 4}) || len(List[*appsv1.ReplicaSet](w)) != 2 {
		t.Errorf("pods %v", got)
	}
	setImage(w, d, "image:1")
	rollOut(w, d, 3, 5)
	sets := List[*appsv1.ReplicaSet](w)
	if got := images(w); !maps.Equal(got, map[string]int{"image:1": 4}) || len(sets) != 2 {
		t.Errorf("pods %v of %d replica sets after the rollback", got, len(sets))
	}
	if got := Get(w, d); got.Annotations[deployment.RevisionAnnotation] != "3" {
		t.Errorf("revision %v", got.Annotations)
	}
	for _, rs := range sets {
		if *rs.Spec.Replicas == 4 && (rs.Annotations["deployment.kubernetes.io/revision-history"] != "1" || rs.Annotations[deployment.RevisionAnnotation] != "3") {
			t.Errorf("annotations %v", rs.Annotations)
		}
	}
	w.Idle()
}

func TestScaleAndPause(t *testing.T) {
	w := start(t)
	d := Create(w, web(2))
	rollOut(w, d, 0, 2)
	Mutate(w, d, "", func(d *appsv1.Deployment) { *d.Spec.Replicas = 5 })
	rollOut(w, d, 2, 5)
	Mutate(w, d, "", func(d *appsv1.Deployment) { d.Spec.Paused = true })
	setImage(w, d, "image:2")
	Mutate(w, d, "", func(d *appsv1.Deployment) { *d.Spec.Replicas = 3 })
	w.Settle()
	if got := images(w); !maps.Equal(got, map[string]int{"image:1": 3}) {
		t.Errorf("paused and scaled: pods %v", got)
	}
	Mutate(w, d, "", func(d *appsv1.Deployment) { d.Spec.Paused = false })
	rollOut(w, d, 2, 5)
	if got := images(w); !maps.Equal(got, map[string]int{"image:2": 3}) {
		t.Errorf("resumed: pods %v", got)
	}
	Mutate(w, d, "", func(d *appsv1.Deployment) { *d.Spec.Replicas = 0 })
	rollOut(w, d, 0, 3)
	w.Idle()
}

func TestScaleDuringARolloutIsProportional(t *testing.T) {
	w := start(t)
	d := Create(w, web(10))
	rollOut(w, d, 0, 10)
	setImage(w, d, "image:2") // surge 3, unavailable 2: 8 old and 5 new pods, which never become ready
	w.Settle()
	if got := images(w); !maps.Equal(got, map[string]int{"image:1": 8, "image:2": 5}) {
		t.Fatalf("pods %v", got)
	}
	Mutate(w, d, "", func(d *appsv1.Deployment) { *d.Spec.Replicas = 30 })
	w.Settle()
	if got := images(w); !maps.Equal(got, map[string]int{"image:1": 23, "image:2": 15}) { // 30 + a surge of 8, as 8 to 5
		t.Errorf("pods %v", got)
	}
	w.Idle()
}

func TestRecreateWaitsForTheLastOldPod(t *testing.T) {
	w := start(t)
	w.Node("n")
	d := web(2)
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	d = Create(w, d)
	w.Settle()
	for _, pod := range List[*corev1.Pod](w) {
		w.Bind(pod, "n")
	}
	rollOut(w, d, 0, 2)
	setImage(w, d, "image:2")
	w.Settle()
	if got := images(w); len(got) != 0 {
		t.Errorf("pods %v while old ones terminate", got)
	}
	w.Reap()
	rollOut(w, d, 0, 2)
	if got := images(w); !maps.Equal(got, map[string]int{"image:2": 2}) {
		t.Errorf("pods %v", got)
	}
	w.Idle()
}

func TestProgressDeadline(t *testing.T) {
	w := start(t)
	d := Create(w, web(1))
	w.Settle()
	w.Advance(601 * time.Second)
	w.Settle()
	i := slices.IndexFunc(Get(w, d).Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded"
	})
	if i < 0 {
		t.Errorf("conditions %+v", Get(w, d).Status.Conditions)
	}
	w.Idle()
	rollOut(w, d, 0, 1)
}

func TestHistoryLimitAndAdoption(t *testing.T) {
	w := start(t)
	d := web(1)
	limit := int32(1)
	d.Spec.RevisionHistoryLimit = &limit
	d = Create(w, d)
	rollOut(w, d, 0, 1)
	for i := range 3 {
		setImage(w, d, fmt.Sprint("image:", i+2))
		rollOut(w, d, 1, 2)
	}
	if sets := List[*appsv1.ReplicaSet](w); len(sets) != 2 {
		t.Errorf("%d replica sets, want the newest and one old", len(sets))
	}
	before := List[*corev1.Pod](w)[0].UID
	for _, rs := range List[*appsv1.ReplicaSet](w) {
		Mutate(w, rs, "", func(rs *appsv1.ReplicaSet) { rs.OwnerReferences = nil })
	}
	w.Settle()
	for _, rs := range List[*appsv1.ReplicaSet](w) {
		if ref := metav1.GetControllerOf(rs); ref == nil || ref.UID != d.UID {
			t.Errorf("%s is not adopted", rs.Name)
		}
	}
	if after := List[*corev1.Pod](w)[0].UID; after != before {
		t.Error("adoption replaced the pod")
	}
	w.Idle()
}
