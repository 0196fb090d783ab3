package ttlafterfinished_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/job"
	"codeberg.org/skiff/skiff/server/controller/ttlafterfinished"
)

func TestAFinishedJobGoesWithItsPods(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{job.New(now), garbage.New(nil), ttlafterfinished.New(now)}
	})
	ttl := int32(60)
	template := Template("x")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j := Create(w, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "j"}, Spec: batchv1.JobSpec{Template: template, TTLSecondsAfterFinished: &ttl}})
	w.Settle()
	w.Advance(2 * time.Minute)
	w.Settle()
	w.Run()
	w.Finish(List[*corev1.Pod](w)[0], 0)
	w.Settle()
	w.Advance(59 * time.Second)
	w.Idle()
	if !Exists(w, j) {
		t.Fatal("the job went too early")
	}
	w.Advance(time.Second)
	w.Eventually(func() string {
		if Exists(w, j) || len(List[*corev1.Pod](w)) > 0 {
			return "the job or its pod is still there"
		}
		return ""
	})
}
