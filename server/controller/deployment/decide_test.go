package deployment

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

// Objects of a scenario: a Deployment, the ReplicaSets that it has, and pods that run for a ReplicaSet (their ownerReference's name).
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		h := have{running: map[string]bool{}}
		for _, obj := range objects {
			switch o := obj.(type) {
			case *appsv1.Deployment:
				h.d = o
			case *appsv1.ReplicaSet:
				h.sets = append(h.sets, o)
			case *corev1.Pod:
				h.running[metav1.GetControllerOf(o).Name] = true
			}
		}
		return decide(h, controllertest.ScenarioNow).String()
	})
}

func TestRevisionsAreLargeNumbers(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{RevisionAnnotation: "9007199254740993"}}}
	if got := nextRevision(nil, []*appsv1.ReplicaSet{rs}); got != "9007199254740994" {
		t.Errorf("revision %s", got)
	}
}
