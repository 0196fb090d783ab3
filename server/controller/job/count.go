package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxUncounted is how many uids a status may hold; more pods wait for their turn.
const maxUncounted = 500

// tally is what has ended so far, counted or about to be.
type tally struct {
	succeeded, failed   int
	done, failedIndexes map[int]bool
	// last is the failed pod of each index that has no successor yet: it carries the index's count of failures.
	last map[int]*corev1.Pod
}

// count moves finished pods through the three steps; see the package comment. Indexes that are done are counted by the list
// of them, at once.
func count(h have, p *plan) tally {
	s, u := &p.status, settle(h, p)
	indexed := isIndexed(h.job)
	completions := int(deref(h.job.Spec.Completions))
	n := tally{done: below(parseIndexes(s.CompletedIndexes), completions), failedIndexes: below(parseIndexes(deref(s.FailedIndexes)), completions)}
	n.last = lastFailed(h, completions)
	wasDone, old := parseIndexes(h.job.Status.CompletedIndexes), h.job.Status.UncountedTerminatedPods
	if old == nil {
		old = &batchv1.UncountedTerminatedPods{}
	}
	for _, pod := range h.pods {
		index, hasIndex := indexOf(pod)
		counts := !indexed || hasIndex && index < completions
		noted := true // in the stored status, so that the finalizer may go
		switch {
		case !tracked(pod):
			continue
		case pod.Status.Phase == corev1.PodSucceeded && !slices.Contains(u.Failed, pod.UID):
			switch {
			case !counts:
			case indexed:
				n.done[index], noted = true, wasDone[index]
			default:
				noted = note(&u.Succeeded, old.Succeeded, pod.UID, len(u.Failed))
			}
		case failed(h.job, pod) || isTrue(*s, batchv1.JobFailureTarget):
			action, ignored := failureAction(h.job, pod)
			if counts && !ignored {
				noted = note(&u.Failed, old.Failed, pod.UID, len(u.Succeeded))
			}
			if counts && indexFailed(h.job, pod, action) && !n.done[index] && failed(h.job, pod) {
				n.failedIndexes[index] = true
			}
			if n.last[index] == pod && !n.failedIndexes[index] && !n.done[index] && !concluded(*s) {
				noted = false
			}
		default:
			continue
		}
		if noted {
			p.untrack = append(p.untrack, pod)
		}
	}
	if indexed {
		s.CompletedIndexes, s.Succeeded = formatIndexes(n.done), int32(len(n.done))
	}
	if h.job.Spec.BackoffLimitPerIndex != nil {
		for index := range n.done {
			delete(n.failedIndexes, index)
		}
		s.FailedIndexes = ptr(formatIndexes(n.failedIndexes))
	}
	n.succeeded, n.failed = int(s.Succeeded)+len(u.Succeeded), int(s.Failed)+len(u.Failed)
	return n
}

// settle turns the uids of pods that have lost their finalizer into numbers.
func settle(h have, p *plan) *batchv1.UncountedTerminatedPods {
	s := &p.status
	if s.UncountedTerminatedPods == nil {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	waiting := map[types.UID]bool{}
	for _, pod := range h.pods {
		waiting[pod.UID] = tracked(pod)
	}
	settled := func(list []types.UID, total *int32) (left []types.UID) {
		for _, uid := range list {
			if waiting[uid] {
				left = append(left, uid)
			} else {
				*total++
			}
		}
		return left
	}
	u := s.UncountedTerminatedPods
	u.Succeeded, u.Failed = settled(u.Succeeded, &s.Succeeded), settled(u.Failed, &s.Failed)
	return u
}

// note puts uid into list, if there is room, and tells whether the stored list has it.
func note(list *[]types.UID, stored []types.UID, uid types.UID, others int) bool {
	if !slices.Contains(*list, uid) && len(*list)+others < maxUncounted {
		*list = append(*list, uid)
	}
	return slices.Contains(stored, uid)
}

// failed tells whether a pod counts as failed. One that is being deleted does already (it is replaced at once), unless the Job
// says that only pods which have ended are replaced.
func failed(job *batchv1.Job, pod *corev1.Pod) bool {
	switch {
	case pod.Status.Phase == corev1.PodFailed:
		return true
	case pod.DeletionTimestamp == nil || pod.Status.Phase == corev1.PodSucceeded:
		return false
	}
	return !replacesOnlyFailed(job) || pod.Spec.NodeName == ""
}

func replacesOnlyFailed(job *batchv1.Job) bool {
	return deref(job.Spec.PodReplacementPolicy) == batchv1.Failed || job.Spec.PodFailurePolicy != nil
}

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// lastFailed finds the failed pods that have to stay until their index has a successor, which takes over their count.
func lastFailed(h have, completions int) map[int]*corev1.Pod {
	last := map[int]*corev1.Pod{}
	if h.job.Spec.BackoffLimitPerIndex == nil {
		return last
	}
	for _, pod := range h.pods {
		index, ok := indexOf(pod)
		if !ok || index >= completions || !tracked(pod) && failed(h.job, pod) {
			continue
		}
		if have := last[index]; have == nil || attempts(have) < attempts(pod) {
			last[index] = pod
		}
	}
	for index, pod := range last {
		if !failed(h.job, pod) {
			delete(last, index)
		}
	}
	return last
}
