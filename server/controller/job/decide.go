package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// have is a Job with its pods.
type have struct {
	job            *batchv1.Job
	pods           []*corev1.Pod // controlled and selected
	adopt, release []*corev1.Pod
}

// plan is what to do, in this order: claim, status, untrack, remove, drop, create.
type plan struct {
	adopt, release []*corev1.Pod
	status         batchv1.JobStatus
	untrack        []*corev1.Pod
	remove         []*corev1.Pod // delete, and count as failed
	drop           []*corev1.Pod // delete, and count not at all: it is no failure to be superfluous
	create         []*corev1.Pod
	after          time.Duration
}

func (p plan) String() string {
	var b strings.Builder
	show := func(verb string, pods []*corev1.Pod) {
		for _, pod := range pods {
			fmt.Fprintf(&b, "%s %s\n", verb, pod.Name)
		}
	}
	show("adopt", p.adopt)
	show("release", p.release)
	show("untrack", p.untrack)
	show("delete", p.remove)
	show("drop", p.drop)
	for _, pod := range p.create {
		fmt.Fprintf(&b, "create %s", pod.GenerateName)
		if n, ok := pod.Annotations[batchv1.JobIndexFailureCountAnnotation]; ok {
			fmt.Fprintf(&b, " failures=%s", n)
		}
		b.WriteByte('\n')
	}
	s := p.status
	fmt.Fprintf(&b, "status active=%d ready=%d terminating=%d succeeded=%d failed=%d", s.Active, deref(s.Ready), deref(s.Terminating), s.Succeeded, s.Failed)
	if u := s.UncountedTerminatedPods; u != nil && len(u.Succeeded)+len(u.Failed) > 0 {
		fmt.Fprintf(&b, " uncounted=%d+%d", len(u.Succeeded), len(u.Failed))
	}
	if s.CompletedIndexes != "" {
		fmt.Fprintf(&b, " completed=%s", s.CompletedIndexes)
	}
	if deref(s.FailedIndexes) != "" {
		fmt.Fprintf(&b, " failedIndexes=%s", *s.FailedIndexes)
	}
	b.WriteByte('\n')
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if p.after > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.after)
	}
	return b.String()
}

func (p *plan) wake(after time.Duration) {
	if after = max(after, time.Millisecond); p.after == 0 || after < p.after {
		p.after = after
	}
}

// decide is pure.
func decide(h have, now metav1.Time) plan {
	job := h.job
	p := plan{adopt: h.adopt, release: h.release, status: *job.Status.DeepCopy()}
	s := &p.status
	if job.DeletionTimestamp != nil || finished(job.Status) {
		for _, pod := range h.pods { // nobody counts any more
			if tracked(pod) {
				p.untrack = append(p.untrack, pod)
			}
		}
		p.adopt, p.release = nil, nil
		return p
	}
	suspended := deref(job.Spec.Suspend)
	if s.StartTime == nil && !suspended {
		s.StartTime = &now
	}
	n := count(h, &p)

	active := slices.DeleteFunc(slices.Clone(h.pods), func(pod *corev1.Pod) bool { return !replica.IsActive(pod) })
	s.Active = int32(len(active))
	s.Ready, s.Terminating = ptr(ready(active)), ptr(terminating(h.pods))

	conclude(h, n, s, len(active), now)
	switch {
	case isTrue(*s, batchv1.JobFailureTarget):
		end(&p, active, batchv1.JobFailureTarget, batchv1.JobFailed, now)
	case isTrue(*s, batchv1.JobSuccessCriteriaMet):
		end(&p, active, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, now)
	case suspended:
		suspend(&p, active, now)
	default:
		if isTrue(*s, batchv1.JobSuspended) {
			set(s, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", now)
			s.StartTime = &now
		}
		run(h, n, &p, active, now)
	}
	if limit := job.Spec.ActiveDeadlineSeconds; limit != nil && s.StartTime != nil && !suspended && !concluded(*s) {
		p.wake(s.StartTime.Add(time.Duration(*limit) * time.Second).Sub(now.Time))
	}
	return p
}

// conclude sets FailureTarget or SuccessCriteriaMet when the Job's outcome has been decided.
func conclude(h have, n tally, s *batchv1.JobStatus, active int, now metav1.Time) {
	if concluded(*s) {
		return
	}
	if reason, message := failure(h, n, s, now); reason != "" {
		set(s, batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message, now)
		return
	}
	if rule := successRule(h.job, n.done); rule >= 0 {
		set(s, batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule), now)
		return
	}
	if complete(h.job, n, active) {
		set(s, batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now)
	}
}

// failure returns why the Job has failed, "" if it has not.
func failure(h have, n tally, s *batchv1.JobStatus, now metav1.Time) (reason, message string) {
	spec := &h.job.Spec
	if message := failJob(h); message != "" {
		return batchv1.JobReasonPodFailurePolicy, message
	}
	limit := int(deref(spec.BackoffLimit))
	switch {
	case n.failed > limit || spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && restarts(h.pods) >= max(limit, 1):
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	case spec.ActiveDeadlineSeconds != nil && s.StartTime != nil && !deref(spec.Suspend) &&
		now.Sub(s.StartTime.Time) >= time.Duration(*spec.ActiveDeadlineSeconds)*time.Second:
		return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
	case spec.BackoffLimitPerIndex == nil || len(n.failedIndexes) == 0:
	case spec.MaxFailedIndexes != nil && len(n.failedIndexes) > int(*spec.MaxFailedIndexes):
		return batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
	case len(n.failedIndexes)+len(n.done) >= int(deref(spec.Completions)):
		return batchv1.JobReasonFailedIndexes, "Job has failed indexes"
	}
	return "", ""
}

// restarts of containers in pods that go on, which count like failed pods where the kubelet restarts them in place.
func restarts(pods []*corev1.Pod) (n int) {
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			n += int(c.RestartCount)
		}
	}
	return n
}

func complete(job *batchv1.Job, n tally, active int) bool {
	if job.Spec.Completions == nil { // a work queue: one success, and the rest has ended
		return n.succeeded > 0 && active == 0
	}
	return n.succeeded >= int(*job.Spec.Completions)
}

// end stops what still runs; when all is counted and gone the final condition follows, with the reason of the first.
func end(p *plan, active []*corev1.Pod, target, final batchv1.JobConditionType, now metav1.Time) {
	s := &p.status
	if find(s, target).Reason == batchv1.JobReasonCompletionsReached {
		p.drop = append(p.drop, active...)
	} else {
		p.remove = append(p.remove, active...)
	}
	u := s.UncountedTerminatedPods
	if len(active) > 0 || deref(s.Terminating) > 0 || len(u.Succeeded)+len(u.Failed)+len(p.untrack) > 0 {
		return
	}
	why := *find(s, target)
	set(s, final, corev1.ConditionTrue, why.Reason, why.Message, now)
	if final == batchv1.JobComplete {
		s.CompletionTime = &now
	}
}

func suspend(p *plan, active []*corev1.Pod, now metav1.Time) {
	if !isTrue(p.status, batchv1.JobSuspended) {
		set(&p.status, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", now)
	}
	p.status.StartTime = nil
	p.drop = append(p.drop, active...)
}

func ready(pods []*corev1.Pod) (n int32) {
	for _, pod := range pods {
		if _, ok := replica.ReadySince(pod); ok {
			n++
		}
	}
	return n
}

func terminating(pods []*corev1.Pod) (n int32) {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			n++
		}
	}
	return n
}

func finished(s batchv1.JobStatus) bool {
	return isTrue(s, batchv1.JobComplete) || isTrue(s, batchv1.JobFailed)
}

// concluded: the outcome is decided, though pods may still have to end.
func concluded(s batchv1.JobStatus) bool {
	return isTrue(s, batchv1.JobSuccessCriteriaMet) || isTrue(s, batchv1.JobFailureTarget)
}

func find(s *batchv1.JobStatus, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

func isTrue(s batchv1.JobStatus, kind batchv1.JobConditionType) bool {
	c := find(&s, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

func set(s *batchv1.JobStatus, kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now metav1.Time) {
	c := batchv1.JobCondition{Type: kind, Status: status, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
	if have := find(s, kind); have != nil {
		*have = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func ptr[T any](v T) *T { return &v }
