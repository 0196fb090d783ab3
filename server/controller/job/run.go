package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

const (
	backoffBase = 10 * time.Second
	backoffMax  = 10 * time.Minute
	// burst is how many pods one reconciliation creates at most; the rest follows in the next.
	burst = 500
)

// run creates or deletes pods to have as many as parallelism and what is left to do allow.
func run(h have, n tally, p *plan, active []*corev1.Pod, now metav1.Time) {
	job := h.job
	want := int(deref(job.Spec.Parallelism))
	if job.Spec.Completions != nil {
		want = min(want, int(*job.Spec.Completions)-n.succeeded)
	} else if n.succeeded > 0 {
		want = len(active) // the queue is empty: let the others end
	}
	active, surplus := distinct(job, n, active)
	p.drop = append(p.drop, surplus...)
	diff := max(want, 0) - len(active)
	if diff < 0 {
		replica.Rank(active, now.Time)
		p.drop = append(p.drop, active[:-diff]...)
	}
	if len(p.drop) > 0 {
		return
	}
	if replacesOnlyFailed(job) {
		diff -= int(deref(p.status.Terminating))
	}
	diff = min(diff, burst)
	switch {
	case diff <= 0:
	case job.Spec.BackoffLimitPerIndex != nil:
		createPerIndex(h, n, p, active, diff, now.Time)
	default:
		if wait := backoff(h, now.Time); wait > 0 {
			p.wake(wait)
			return
		}
		for _, index := range indexes(h, n, active, diff) {
			p.create = append(p.create, podOf(job, index))
		}
	}
}

// distinct keeps one active pod of each index that is wanted; the surplus is to go.
func distinct(job *batchv1.Job, n tally, active []*corev1.Pod) (kept, surplus []*corev1.Pod) {
	if !isIndexed(job) {
		return slices.Clone(active), nil
	}
	seen := map[int]bool{}
	for _, pod := range active {
		index, ok := indexOf(pod)
		if !ok || index >= int(deref(job.Spec.Completions)) || seen[index] || n.done[index] || n.failedIndexes[index] {
			surplus = append(surplus, pod)
			continue
		}
		seen[index] = true
		kept = append(kept, pod)
	}
	return kept, surplus
}

// indexes of up to count new pods; -1 for each pod of a Job without indexes.
func indexes(h have, n tally, active []*corev1.Pod, count int) (list []int) {
	if !isIndexed(h.job) {
		return slices.Repeat([]int{-1}, count)
	}
	return free(h, n, active, count, func(int) bool { return true })
}

// createPerIndex waits for each index by itself, and hands its count of failures on.
func createPerIndex(h have, n tally, p *plan, active []*corev1.Pod, count int, now time.Time) {
	may := func(index int) bool {
		replaced := n.last[index]
		if replaced == nil {
			return true
		}
		wait := endedAt(replaced).Add(delay(attempts(replaced) + 1)).Sub(now)
		if wait > 0 {
			p.wake(wait)
		}
		return wait <= 0
	}
	for _, index := range free(h, n, active, count, may) {
		pod := podOf(h.job, index)
		inherit(h.job, pod, n.last[index])
		p.create = append(p.create, pod)
	}
}

// free returns up to count indexes that are not done, not failed, not worked on, and may be started.
func free(h have, n tally, active []*corev1.Pod, count int, may func(int) bool) (list []int) {
	taken := map[int]bool{}
	for _, pod := range active {
		if i, ok := indexOf(pod); ok {
			taken[i] = true
		}
	}
	if replacesOnlyFailed(h.job) {
		for _, pod := range h.pods {
			if i, ok := indexOf(pod); ok && pod.DeletionTimestamp != nil && terminating([]*corev1.Pod{pod}) > 0 {
				taken[i] = true
			}
		}
	}
	for i := 0; i < int(deref(h.job.Spec.Completions)) && len(list) < count; i++ {
		if !taken[i] && !n.done[i] && !n.failedIndexes[i] && may(i) {
			list = append(list, i)
		}
	}
	return list
}

// backoff delays replacements after failures: 10 s after the first since the last success, doubled with each. It is worked out from
// the pods that there are; pods that were dropped are no failures.
func backoff(h have, now time.Time) time.Duration {
	var succeeded, last time.Time
	for _, pod := range h.pods {
		if end := endedAt(pod); pod.Status.Phase == corev1.PodSucceeded && end.After(succeeded) {
			succeeded = end
		}
	}
	failures := 0
	for _, pod := range h.pods {
		end := endedAt(pod)
		dropped := pod.DeletionTimestamp != nil && !tracked(pod)
		if !failed(h.job, pod) || dropped || !end.After(succeeded) {
			continue
		}
		failures++
		if end.After(last) {
			last = end
		}
	}
	if failures == 0 {
		return 0
	}
	return last.Add(delay(failures)).Sub(now)
}

func delay(failures int) time.Duration {
	return min(backoffBase<<min(failures-1, 16), backoffMax)
}

// endedAt is when a pod's last container ended; when it was not told, the best guess.
func endedAt(pod *corev1.Pod) time.Time {
	var end time.Time
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(end) {
			end = t.FinishedAt.Time
		}
	}
	if !end.IsZero() {
		return end
	}
	if since, _ := replica.ReadySince(pod); !since.IsZero() {
		return since
	}
	if pod.DeletionTimestamp != nil {
		return pod.DeletionTimestamp.Add(-time.Duration(deref(pod.DeletionGracePeriodSeconds)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}
