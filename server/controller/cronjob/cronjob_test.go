package cronjob

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/job"
)

// Objects of a scenario: a CronJob and its Jobs.
func TestScenarios(t *testing.T) {
	Scenarios(t, func(t *testing.T, objects []api.Object) string {
		var cron *batchv1.CronJob
		var jobs []*batchv1.Job
		for _, obj := range objects {
			switch o := obj.(type) {
			case *batchv1.CronJob:
				cron = o
			case *batchv1.Job:
				jobs = append(jobs, o)
			}
		}
		return decide(cron, jobs, ScenarioNow.Time).String()
	})
}

func TestRunsByTheClock(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{New(now), job.New(now)}
	})
	template := Template("x")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	one := int32(1)
	c := Create(w, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "c"}, Spec: batchv1.CronJobSpec{
		Schedule: "*/10 * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, SuccessfulJobsHistoryLimit: &one,
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}})
	w.Idle()
	if n := len(List[*batchv1.Job](w)); n != 0 {
		t.Fatalf("%d jobs before the first run", n)
	}
	w.Advance(11 * time.Minute)
	w.Settle()
	w.Idle()
	if s := Get(w, c).Status; len(List[*batchv1.Job](w)) != 1 || len(s.Active) != 1 || !s.LastScheduleTime.Time.Equal(w.Now().Add(-time.Minute)) {
		t.Fatalf("%d jobs, status %+v", len(List[*batchv1.Job](w)), s)
	}
	w.Advance(10 * time.Minute) // the first still runs, and may not have company
	w.Settle()
	if n := len(List[*batchv1.Job](w)); n != 1 {
		t.Errorf("%d jobs, want the one that runs", n)
	}
	for range 3 {
		w.Run()
		for _, pod := range List[*corev1.Pod](w) {
			if pod.Status.Phase == corev1.PodRunning {
				w.Finish(pod, 0)
			}
		}
		w.Settle()
		w.Advance(10 * time.Minute)
		w.Settle()
	}
	if s := Get(w, c).Status; len(List[*batchv1.Job](w)) != 2 || len(s.Active) != 1 || s.LastSuccessfulTime == nil {
		t.Errorf("%d jobs, want one that ended and one that runs; status %+v", len(List[*batchv1.Job](w)), s)
	}
	w.Idle()
}
