package legacytokencleaner

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

// Objects of a scenario: a Secret, and its account, pods and the ConfigMap of the tracking, if there are any. It is 1 March 2026.
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		var h have
		for _, obj := range objects {
			switch o := obj.(type) {
			case *corev1.Secret:
				h.secret = o
			case *corev1.ServiceAccount:
				h.account = o
			case *corev1.Pod:
				h.pods = append(h.pods, o)
			case *corev1.ConfigMap:
				h.trackedSince = o.Data[TrackingKey]
			}
		}
		return decide(h, DefaultPeriod, controllertest.ScenarioNow.Time).String()
	})
}
