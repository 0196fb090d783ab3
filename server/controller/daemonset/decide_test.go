package daemonset

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

// Objects of a scenario: a DaemonSet, nodes, its pods, its revisions (one without data is of the current template). Pods on a node
// called "failing" have failed before.
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		h := have{backoff: func(node string) time.Duration {
			if node == "failing" {
				return 4 * time.Second
			}
			return 0
		}}
		for _, obj := range objects {
			switch o := obj.(type) {
			case *appsv1.DaemonSet:
				h.ds = o
			case *corev1.Node:
				h.nodes = append(h.nodes, o)
			case *corev1.Pod:
				h.pods.Own = append(h.pods.Own, o)
			case *appsv1.ControllerRevision:
				if o.Data.Raw == nil {
					o.Data.Raw, _ = revision.Data(&h.ds.Spec.Template)
				}
				h.revisions.Own = append(h.revisions.Own, o)
			}
		}
		h.sort()
		p, err := decide(h, controllertest.ScenarioNow.Time)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := statusOf(h, p.hash(), h.ds.Generation, controllertest.ScenarioNow.Time)
		return p.String() + show(s)
	})
}

// show prints a status in a line.
func show(s appsv1.DaemonSetStatus) string {
	return fmt.Sprintf("status desired=%d current=%d misscheduled=%d ready=%d updated=%d available=%d\n", s.DesiredNumberScheduled, s.CurrentNumberScheduled,
		s.NumberMisscheduled, s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable)
}
