package job_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/job"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{job.New(now), garbage.New(nil)}
	})
}

func ptr[T any](v T) *T { return &v }

func work(parallelism, completions int32, change func(*batchv1.JobSpec)) *batchv1.Job {
	template := Template("work")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "work"}, Spec: batchv1.JobSpec{
		Parallelism: &parallelism, Completions: &completions, Template: template}}
	if change != nil {
		change(&j.Spec)
	}
	return j
}

func indexed(s *batchv1.JobSpec) { s.CompletionMode = ptr(batchv1.IndexedCompletion) }

// pending are the pods that have not ended, by name.
func pending(w *World) (pods []*corev1.Pod) {
	for _, pod := range List[*corev1.Pod](w) {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			pods = append(pods, pod)
		}
	}
	return pods
}

// conditions of a Job that are true, with their reasons.
func conditions(j *batchv1.Job) (list []string) {
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			list = append(list, string(c.Type)+" "+c.Reason)
		}
	}
	return list
}

func want(w *World, j *batchv1.Job, conds ...string) *batchv1.Job {
	w.T.Helper()
	w.Settle()
	got := Get(w, j)
	if !slices.Equal(conditions(got), conds) {
		w.T.Fatalf("conditions %q, want %q; status %+v", conditions(got), conds, got.Status)
	}
	return got
}

func TestCompletes(t *testing.T) {
	w := start(t)
	j := Create(w, work(2, 3, nil))
	for range 3 {
		w.Settle()
		w.Run()
		if pods := pending(w); len(pods) == 0 || len(pods) > 2 {
			t.Fatalf("%d pods run", len(pods))
		}
		w.Finish(pending(w)[0], 0)
	}
	got := want(w, j, "SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached")
	if s := got.Status; s.Succeeded != 3 || s.Active != 0 || s.Failed != 0 || s.CompletionTime == nil || s.StartTime == nil {
		t.Errorf("status %+v", s)
	}
	for _, pod := range List[*corev1.Pod](w) {
		if len(pod.Finalizers) > 0 {
			t.Errorf("pod %s keeps %v", pod.Name, pod.Finalizers)
		}
	}
	w.Idle()
	w.Delete(j, metav1.DeletePropagationBackground)
	w.Settle()
	if n := len(List[*corev1.Pod](w)); n != 0 {
		t.Errorf("%d pods outlive the job", n)
	}
}

func TestBackoffThenFails(t *testing.T) {
	w := start(t)
	j := Create(w, work(1, 1, func(s *batchv1.JobSpec) { s.BackoffLimit = ptr[int32](1) }))
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 1)
	w.Settle()
	if n := len(pending(w)); n != 0 {
		t.Errorf("%d pods; the first failure is followed by 10 s of waiting", n)
	}
	w.Idle()
	w.Advance(11 * time.Second)
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 1)
	got := want(w, j, "FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded")
	if got.Status.Failed != 2 || got.Status.CompletionTime != nil {
		t.Errorf("status %+v", got.Status)
	}
	w.Idle()
}

func TestIndexed(t *testing.T) {
	w := start(t)
	j := Create(w, work(3, 5, indexed))
	w.Settle()
	for i, pod := range pending(w) {
		if pod.Annotations[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(i) || pod.Spec.Hostname != fmt.Sprint("work-", i) || pod.Labels[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(i) {
			t.Errorf("pod %d is %v %s", i, pod.Annotations, pod.Spec.Hostname)
		}
	}
	w.Run()
	w.Finish(pending(w)[1], 0)
	w.Settle()
	if s := Get(w, j).Status; s.CompletedIndexes != "1" || s.Succeeded != 1 || s.Active != 3 {
		t.Errorf("status %+v", s)
	}
	for len(pending(w)) > 0 {
		w.Finish(pending(w)[0], 0)
		w.Settle()
	}
	if got := want(w, j, "SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"); got.Status.CompletedIndexes != "0-4" || got.Status.Succeeded != 5 {
		t.Errorf("status %+v", got.Status)
	}
	w.Idle()
}

func TestSuspendAndDeadline(t *testing.T) {
	w := start(t)
	j := Create(w, work(2, 2, func(s *batchv1.JobSpec) { s.Suspend, s.ActiveDeadlineSeconds = ptr(true), ptr[int64](60) }))
	if got := want(w, j, "Suspended JobSuspended"); got.Status.StartTime != nil || len(pending(w)) != 0 {
		t.Errorf("status %+v", got.Status)
	}
	w.Idle()
	w.Advance(2 * time.Minute)
	Mutate(w, j, "", func(j *batchv1.Job) { j.Spec.Suspend = ptr(false) })
	if got := want(w, j); !got.Status.StartTime.Time.Equal(w.Now()) || len(pending(w)) != 2 {
		t.Errorf("status %+v", got.Status)
	}
	w.Advance(61 * time.Second)
	want(w, j, "FailureTarget DeadlineExceeded", "Failed DeadlineExceeded")
	w.Idle()
}

func TestADeletedPodIsReplacedAtOnceOrWhenItHasEnded(t *testing.T) {
	for policy, pods := range map[batchv1.PodReplacementPolicy]int{batchv1.TerminatingOrFailed: 1, batchv1.Failed: 0} {
		t.Run(string(policy), func(t *testing.T) {
			w := start(t)
			w.Node("n")
			j := Create(w, work(1, 1, func(s *batchv1.JobSpec) { s.PodReplacementPolicy = &policy }))
			w.Settle()
			pod := pending(w)[0]
			w.Bind(pod, "n")
			w.Run()
			w.Delete(pod, "")
			w.Settle()
			w.Advance(time.Minute)
			w.Settle()
			if n := len(pending(w)); n != pods {
				t.Errorf("%d new pods, want %d", n, pods)
			}
			w.Idle()
			if Exists(w, pod) {
				w.Finish(pod, 137)
				w.Settle()
				w.Reap()
			}
			w.Advance(time.Minute)
			w.Settle()
			if s := Get(w, j).Status; len(pending(w)) != 1 || s.Failed != 1 || s.Active != 1 || Exists(w, pod) {
				t.Errorf("%d pods, status %+v", len(pending(w)), s)
			}
		})
	}
}

func TestWhatIsSuperfluousIsNoFailure(t *testing.T) {
	w := start(t)
	w.Node("n")
	j := Create(w, work(3, 5, func(s *batchv1.JobSpec) { s.BackoffLimit = ptr[int32](0) }))
	w.Settle()
	for _, pod := range pending(w) {
		w.Bind(pod, "n")
	}
	w.Run()
	Mutate(w, j, "", func(j *batchv1.Job) { j.Spec.Parallelism = ptr[int32](1) })
	w.Settle()
	Mutate(w, j, "", func(j *batchv1.Job) { j.Spec.Suspend = ptr(true) })
	want(w, j, "Suspended JobSuspended")
	w.Reap()
	Mutate(w, j, "", func(j *batchv1.Job) { j.Spec.Suspend = ptr(false) })
	if got := want(w, j); got.Status.Failed != 0 || len(pending(w)) != 1 {
		t.Errorf("%d pods run, status %+v", len(pending(w)), got.Status)
	}
	w.Idle()
}

func TestPodFailurePolicy(t *testing.T) {
	w := start(t)
	j := Create(w, work(2, 2, func(s *batchv1.JobSpec) {
		s.BackoffLimit = ptr[int32](0)
		s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}},
		}}
	}))
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 1, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue})
	if got := want(w, j); got.Status.Failed != 0 {
		t.Errorf("what is ignored counts: %+v", got.Status)
	}
	w.Advance(time.Minute)
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 42)
	got := want(w, j, "FailureTarget PodFailurePolicy", "Failed PodFailurePolicy")
	if got.Status.Failed != 2 { // the one that failed, and the one that was stopped
		t.Errorf("status %+v", got.Status)
	}
	w.Idle()
}

func TestLimitPerIndex(t *testing.T) {
	w := start(t)
	j := Create(w, work(2, 2, func(s *batchv1.JobSpec) {
		indexed(s)
		s.BackoffLimitPerIndex = ptr[int32](1)
	}))
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 1)
	w.Settle()
	w.Idle()
	w.Advance(11 * time.Second)
	w.Settle()
	second := pending(w)[0]
	if second.Annotations[batchv1.JobIndexFailureCountAnnotation] != "1" || second.Annotations[batchv1.JobCompletionIndexAnnotation] != "0" {
		t.Errorf("the replacement is %v", second.Annotations)
	}
	w.Run()
	w.Finish(second, 1)
	w.Settle()
	if s := Get(w, j).Status; deref(s.FailedIndexes) != "0" || s.Failed != 2 || s.Active != 1 {
		t.Errorf("status %+v", s)
	}
	w.Finish(pending(w)[0], 0)
	got := want(w, j, "FailureTarget FailedIndexes", "Failed FailedIndexes")
	if got.Status.CompletedIndexes != "1" || got.Status.Succeeded != 1 {
		t.Errorf("status %+v", got.Status)
	}
	w.Idle()
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func TestSuccessPolicy(t *testing.T) {
	w := start(t)
	j := Create(w, work(3, 3, func(s *batchv1.JobSpec) {
		indexed(s)
		s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr("0")}}}
	}))
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 0)
	want(w, j, "SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy")
	if n := len(pending(w)); n != 0 {
		t.Errorf("%d pods still run", n)
	}
	w.Idle()
}

func TestOrphanedPodsAreLetGo(t *testing.T) {
	w := start(t)
	j := Create(w, work(2, 2, nil))
	w.Settle()
	w.Delete(j, metav1.DeletePropagationOrphan)
	w.Eventually(func() string {
		if Exists(w, j) {
			return "the job is still there"
		}
		return ""
	})
	w.Settle()
	for _, pod := range List[*corev1.Pod](w) {
		if len(pod.Finalizers) > 0 || len(pod.OwnerReferences) > 0 {
			t.Errorf("pod %s keeps %v %v", pod.Name, pod.Finalizers, pod.OwnerReferences)
		}
	}
	if n := len(List[*corev1.Pod](w)); n != 2 {
		t.Errorf("%d pods, want both", n)
	}
	w.Idle()
}

func TestAnotherManagesIt(t *testing.T) {
	w := start(t)
	j := Create(w, work(1, 1, func(s *batchv1.JobSpec) { s.ManagedBy = ptr("example.com/other") }))
	if got := want(w, j); len(pending(w)) != 0 || got.Status.StartTime != nil {
		t.Errorf("status %+v", got.Status)
	}
}

func TestWorkQueue(t *testing.T) {
	w := start(t)
	j := work(2, 0, nil)
	j.Spec.Completions = nil
	j = Create(w, j)
	w.Settle()
	w.Run()
	w.Finish(pending(w)[0], 0)
	want(w, j)
	if n := len(pending(w)); n != 1 {
		t.Errorf("%d pods run after the first success, want the other", n)
	}
	w.Finish(pending(w)[0], 0)
	want(w, j, "SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached")
}
