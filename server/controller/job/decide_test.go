package job

import (
	"maps"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

// Objects of a scenario: a Job and its pods.
func TestScenarios(t *testing.T) {
	controllertest.Scenarios(t, func(t *testing.T, objects []api.Object) string {
		var h have
		for _, obj := range objects {
			switch o := obj.(type) {
			case *batchv1.Job:
				h.job = o
			case *corev1.Pod:
				h.pods = append(h.pods, o)
			}
		}
		return decide(h, controllertest.ScenarioNow).String()
	})
}

func FuzzIndexes(f *testing.F) {
	for _, s := range []string{"", "0", "0-3,7", "1,2", "5-3", "-1", "a-b,,", "1-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 30 {
			return
		}
		set := below(parseIndexes(s), 1000)
		if again := parseIndexes(formatIndexes(set)); !maps.Equal(set, again) {
			t.Errorf("%q: %v became %v", s, set, again)
		}
	})
}
