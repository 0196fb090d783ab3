package statefulset

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

// Objects of a scenario: a StatefulSet, its pods, claims and revisions (one without data is of the current template).
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		h := have{claims: map[string]*corev1.PersistentVolumeClaim{}}
		for _, obj := range objects {
			switch o := obj.(type) {
			case *appsv1.StatefulSet:
				h.set = o
			case *corev1.Pod:
				h.pods.Own = append(h.pods.Own, o)
			case *corev1.PersistentVolumeClaim:
				h.claims[o.Name] = o
			case *appsv1.ControllerRevision:
				if o.Data.Raw == nil {
					o.Data.Raw, _ = revision.Data(&h.set.Spec.Template)
				}
				h.revisions.Own = append(h.revisions.Own, o)
			}
		}
		p, err := decide(h, controllertest.ScenarioNow.Time)
		if err != nil {
			t.Fatal(err)
		}
		s := statusOf(h, p, h.set.Generation, controllertest.ScenarioNow.Time)
		return p.String() + fmt.Sprintf("status replicas=%d ready=%d available=%d current=%d updated=%d %s→%s\n", s.Replicas, s.ReadyReplicas, s.AvailableReplicas,
			s.CurrentReplicas, s.UpdatedReplicas, short(s.CurrentRevision), short(s.UpdateRevision))
	})
}

// short hides the hashes of revisions that were made just now.
func short(name string) string {
	if strings.HasSuffix(name, "-new") || strings.HasSuffix(name, "-old") {
		return name
	}
	return "web-made"
}

func TestOrdinals(t *testing.T) {
	for name, want := range map[string]int{"web-0": 0, "web-12": 12, "web-012": -1, "web-": -1, "web": -1, "web-x": -1, "web-1-0": -1, "other-0": -1, "web-99999999999": -1, "web--1": -1} {
		pod := &corev1.Pod{}
		pod.Name = name
		if got := ordinalOf("web", pod); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
