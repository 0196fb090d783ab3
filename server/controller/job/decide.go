package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

const (
	backoffBase = 10 * time.Second
	backoffMax  = 10 * time.Minute
)

// plan is what to do, in this order: claim, status, untrack, remove, create.
type plan struct {
	adopt, release  []*corev1.Pod
	status          batchv1.JobStatus
	untrack, remove []*corev1.Pod
	create          []*corev1.Pod
	after           time.Duration
}

func (p plan) String() string {
	var b strings.Builder
	for verb, pods := range map[string][]*corev1.Pod{"adopt": p.adopt, "release": p.release, "untrack": p.untrack, "delete": p.remove} {
		for _, pod := range pods {
			fmt.Fprintf(&b, "%s %s\n", verb, pod.Name)
		}
	}
	fmt.Fprintf(&b, "create %d\nactive=%d ready=%d succeeded=%d failed=%d completed=%q\n", len(p.create), p.status.Active, deref(p.status.Ready), p.status.Succeeded, p.status.Failed, p.status.CompletedIndexes)
	for _, c := range p.status.Conditions {
		fmt.Fprintf(&b, "%s=%s %s\n", c.Type, c.Status, c.Reason)
	}
	return b.String()
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
		p.adopt = nil
		if finished(job.Status) {
			p.adopt, p.release = nil, nil
		}
		return p
	}
	suspended := deref(job.Spec.Suspend)
	if s.StartTime == nil && !suspended {
		s.StartTime = &now
	}
	count(h, &p)

	active := slices.DeleteFunc(slices.Clone(h.pods), func(pod *corev1.Pod) bool { return !replica.IsActive(pod) })
	s.Active = int32(len(active))
	s.Ready, s.Terminating = ptr(ready(active)), ptr(terminating(h.pods))

	switch reason, message := failure(h, s, now); {
	case reason != "" || isTrue(*s, batchv1.JobFailureTarget):
		fail(&p, active, reason, message, now)
	case complete(job, s, len(active)):
		succeed(&p, active, now)
	case suspended:
		suspend(&p, active, now)
	default:
		if isTrue(*s, batchv1.JobSuspended) {
			set(s, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", now)
			s.StartTime = &now
		}
		run(h, &p, active, now)
	}
	if limit := job.Spec.ActiveDeadlineSeconds; limit != nil && s.StartTime != nil && !suspended && !finished(*s) {
		p.wake(s.StartTime.Add(time.Duration(*limit) * time.Second).Sub(now.Time))
	}
	return p
}

func (p *plan) wake(after time.Duration) {
	if after = max(after, time.Millisecond); p.after == 0 || after < p.after {
		p.after = after
	}
}

// count moves finished pods through the three steps; see the package comment.
func count(h have, p *plan) {
	s := &p.status
	if s.UncountedTerminatedPods == nil {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	u := s.UncountedTerminatedPods
	waiting := map[types.UID]bool{}
	for _, pod := range h.pods {
		if tracked(pod) {
			waiting[pod.UID] = true
		}
	}
	settle := func(list []types.UID, total *int32) (left []types.UID) {
		for _, uid := range list {
			if waiting[uid] {
				left = append(left, uid)
			} else {
				*total++
			}
		}
		return left
	}
	indexed := isIndexed(h.job)
	done := parseIndexes(s.CompletedIndexes)
	u.Succeeded, u.Failed = settle(u.Succeeded, &s.Succeeded), settle(u.Failed, &s.Failed)
	for _, pod := range h.pods {
		if !tracked(pod) {
			continue
		}
		switch {
		case pod.Status.Phase == corev1.PodSucceeded:
			if !slices.Contains(u.Succeeded, pod.UID) {
				u.Succeeded = append(u.Succeeded, pod.UID)
			}
			if i, ok := indexOf(pod); indexed && ok {
				done[i] = true
			}
		case failed(pod):
			if !slices.Contains(u.Failed, pod.UID) {
				u.Failed = append(u.Failed, pod.UID)
			}
		default:
			continue
		}
		// Only what the stored status has noted may lose its finalizer.
		if old := h.job.Status.UncountedTerminatedPods; old != nil && (slices.Contains(old.Succeeded, pod.UID) || slices.Contains(old.Failed, pod.UID)) {
			p.untrack = append(p.untrack, pod)
		}
	}
	if indexed {
		s.CompletedIndexes = formatIndexes(done)
		s.Succeeded = int32(len(done) - len(u.Succeeded))
		s.Succeeded = max(s.Succeeded, 0)
	}
}

// failed: a pod that is deleted before it ends counts as failed, or the Job would wait for it for ever.
func failed(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Spec.NodeName == ""
}

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func succeededCount(s *batchv1.JobStatus) int32 {
	return s.Succeeded + int32(len(s.UncountedTerminatedPods.Succeeded))
}

func failedCount(s *batchv1.JobStatus) int32 {
	return s.Failed + int32(len(s.UncountedTerminatedPods.Failed))
}

// failure returns why the Job has failed, "" if it has not.
func failure(h have, s *batchv1.JobStatus, now metav1.Time) (reason, message string) {
	spec := h.job.Spec
	restarts := failedCount(s)
	if spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
		restarts = 0
		for _, pod := range h.pods {
			if pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodPending {
				for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
					restarts += c.RestartCount
				}
			}
		}
		restarts = max(restarts, failedCount(s))
		if restarts > 0 && restarts >= deref(spec.BackoffLimit) && failedCount(s) == 0 && deref(spec.BackoffLimit) > 0 {
			return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
		}
	}
	switch {
	case restarts > deref(spec.BackoffLimit):
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	case spec.ActiveDeadlineSeconds != nil && s.StartTime != nil && !deref(spec.Suspend) && now.Sub(s.StartTime.Time) >= time.Duration(*spec.ActiveDeadlineSeconds)*time.Second:
		return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
	}
	return "", ""
}

func complete(job *batchv1.Job, s *batchv1.JobStatus, active int) bool {
	if isTrue(*s, batchv1.JobSuccessCriteriaMet) {
		return true
	}
	if job.Spec.Completions == nil { // a work queue: one success, and the rest has ended
		return succeededCount(s) > 0 && active == 0
	}
	return succeededCount(s) >= *job.Spec.Completions
}

// fail and succeed stop what still runs; when all is counted and gone the final condition follows.
func fail(p *plan, active []*corev1.Pod, reason, message string, now metav1.Time) {
	s := &p.status
	if !isTrue(*s, batchv1.JobFailureTarget) {
		set(s, batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message, now)
	}
	p.remove = append(p.remove, active...)
	if settled(s, len(active)) {
		target := find(s, batchv1.JobFailureTarget)
		set(s, batchv1.JobFailed, corev1.ConditionTrue, target.Reason, target.Message, now)
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
}

func succeed(p *plan, active []*corev1.Pod, now metav1.Time) {
	s := &p.status
	if !isTrue(*s, batchv1.JobSuccessCriteriaMet) {
		set(s, batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now)
	}
	p.remove = append(p.remove, active...)
	if settled(s, len(active)) {
		set(s, batchv1.JobComplete, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now)
		s.CompletionTime = &now
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
}

func settled(s *batchv1.JobStatus, active int) bool {
	u := s.UncountedTerminatedPods
	return active == 0 && deref(s.Terminating) == 0 && len(u.Succeeded)+len(u.Failed) == 0
}

func suspend(p *plan, active []*corev1.Pod, now metav1.Time) {
	if !isTrue(p.status, batchv1.JobSuspended) {
		set(&p.status, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", now)
	}
	p.status.StartTime = nil
	p.remove = append(p.remove, active...)
}

// run creates or deletes pods to have as many as parallelism and what is left to do allow.
func run(h have, p *plan, active []*corev1.Pod, now metav1.Time) {
	job, s := h.job, &p.status
	want := deref(job.Spec.Parallelism)
	if job.Spec.Completions != nil {
		want = min(want, *job.Spec.Completions-succeededCount(s))
	} else if succeededCount(s) > 0 {
		want = int32(len(active)) // the queue is empty: let the others end
	}
	diff := int(max(want, 0)) - len(active)
	if diff < 0 {
		slices.SortStableFunc(active, func(a, b *corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
		p.remove = append(p.remove, active[:-diff]...)
		return
	}
	if deref(job.Spec.PodReplacementPolicy) == batchv1.Failed {
		diff -= int(deref(s.Terminating))
	}
	if diff <= 0 {
		return
	}
	if wait := backoff(h, s, now.Time); wait > 0 {
		p.wake(wait)
		return
	}
	indexes := []int{-1}
	if isIndexed(job) {
		indexes = freeIndexes(job, s, active, diff)
		diff = len(indexes)
	}
	for i := range diff {
		index := -1
		if isIndexed(job) {
			index = indexes[i]
		}
		p.create = append(p.create, podOf(job, index))
	}
}

// backoff delays replacements after failures: 10 s, doubled with each.
func backoff(h have, s *batchv1.JobStatus, now time.Time) time.Duration {
	n := failedCount(s)
	if n == 0 {
		return 0
	}
	var last time.Time
	for _, pod := range h.pods {
		if pod.Status.Phase != corev1.PodFailed {
			continue
		}
		end := pod.CreationTimestamp.Time
		for _, c := range pod.Status.ContainerStatuses {
			if t := c.State.Terminated; t != nil && t.FinishedAt.After(end) {
				end = t.FinishedAt.Time
			}
		}
		if end.After(last) {
			last = end
		}
	}
	delay := backoffBase << min(n-1, 16)
	return last.Add(min(delay, backoffMax)).Sub(now)
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
