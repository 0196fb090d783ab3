package kubelet

import (
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
)

// TestAPlanOlderThanItsTask: between looking and acting a container may have started; the plan, which does not know it, must not start
// it once more.
func TestAPlanOlderThanItsTask(t *testing.T) {
	w := &worker{
		k:   &Kubelet{cfg: Config{Log: slog.New(slog.DiscardHandler), Now: time.Now}},
		pod: &corev1.Pod{}, tasks: map[string]*task{}, wakeup: make(chan struct{}, 1),
	}
	step := plan.Step{Verb: "none", Container: "main"}
	begun := func(seen map[string]plan.Task) bool {
		delete(w.tasks, step.Key())
		w.apply(t.Context(), plan.Plan{Steps: []plan.Step{step}}, seen)
		w.wg.Wait()
		return w.tasks[step.Key()].failure != nil // nobody knows such a step
	}
	if !begun(map[string]plan.Task{step.Key(): {}}) {
		t.Error("a step that was not in flight does not begin")
	}
	if begun(map[string]plan.Task{step.Key(): {Running: true}}) {
		t.Error("a step that was in flight when the plan was made, and has ended since, began again")
	}
}
