package disruption

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

// Objects of a scenario: a budget, the pods that it selects, and ReplicaSets whose sizes are the pods to expect.
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		var h have
		for _, obj := range objects {
			switch o := obj.(type) {
			case *policyv1.PodDisruptionBudget:
				h.pdb = o
			case *corev1.Pod:
				h.pods = append(h.pods, o)
			case *appsv1.ReplicaSet:
				h.expected += *o.Spec.Replicas
			}
		}
		return decide(h, controllertest.ScenarioNow).String()
	})
}
