package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// failureAction is what the Job's podFailurePolicy says about a failed pod; ignored is true when it does not count at all.
func failureAction(job *batchv1.Job, pod *corev1.Pod) (action batchv1.PodFailurePolicyAction, ignored bool) {
	_, action, _ = matchRule(job, pod)
	return action, action == batchv1.PodFailurePolicyActionIgnore
}

// failJob says why a failed pod ends the whole Job, by its podFailurePolicy; "" if none does.
func failJob(h have) string {
	for _, pod := range h.pods {
		if !failed(h.job, pod) {
			continue
		}
		if i, action, why := matchRule(h.job, pod); action == batchv1.PodFailurePolicyActionFailJob {
			return fmt.Sprintf("%s matching %s rule at index %d", why, action, i)
		}
	}
	return ""
}

// matchRule finds the first rule of the podFailurePolicy that fits a failed pod, and says why it does.
func matchRule(job *batchv1.Job, pod *corev1.Pod) (index int, action batchv1.PodFailurePolicyAction, why string) {
	if job.Spec.PodFailurePolicy == nil || pod.Status.Phase != corev1.PodFailed {
		return -1, "", ""
	}
	for i, rule := range job.Spec.PodFailurePolicy.Rules {
		if rule.Action == batchv1.PodFailurePolicyActionFailIndex && job.Spec.BackoffLimitPerIndex == nil {
			continue
		}
		if rule.OnExitCodes != nil {
			if c, code, ok := matchExit(rule.OnExitCodes, pod); ok {
				return i, rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d", c, pod.Namespace, pod.Name, code)
			}
			continue
		}
		for _, pattern := range rule.OnPodConditions {
			for _, c := range pod.Status.Conditions {
				if c.Type == pattern.Type && c.Status == pattern.Status {
					return i, rule.Action, fmt.Sprintf("Pod %s/%s has condition %s", pod.Namespace, pod.Name, c.Type)
				}
			}
		}
	}
	return -1, "", ""
}

func matchExit(r *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.Pod) (container string, code int32, ok bool) {
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if s.State.Terminated == nil || s.State.Terminated.ExitCode == 0 || r.ContainerName != nil && *r.ContainerName != s.Name {
			continue
		}
		code := s.State.Terminated.ExitCode
		if slices.Contains(r.Values, code) == (r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return s.Name, code, true
		}
	}
	return "", 0, false
}

// successRule is the first rule of the successPolicy that is met by the indexes that are done, -1 for none.
func successRule(job *batchv1.Job, done map[int]bool) int {
	if job.Spec.SuccessPolicy == nil {
		return -1
	}
	for i, rule := range job.Spec.SuccessPolicy.Rules {
		have, need := len(done), 0
		if rule.SucceededIndexes != nil {
			want := parseIndexes(*rule.SucceededIndexes)
			have, need = 0, len(want)
			for index := range want {
				if done[index] {
					have++
				}
			}
		}
		if rule.SucceededCount != nil {
			need = int(*rule.SucceededCount)
		}
		if have >= need {
			return i
		}
	}
	return -1
}

// indexFailed tells whether this failure was the last that its index may have.
func indexFailed(job *batchv1.Job, pod *corev1.Pod, action batchv1.PodFailurePolicyAction) bool {
	limit := job.Spec.BackoffLimitPerIndex
	if limit == nil || action == batchv1.PodFailurePolicyActionIgnore {
		return false
	}
	return action == batchv1.PodFailurePolicyActionFailIndex || number(pod, batchv1.JobIndexFailureCountAnnotation) >= int(*limit)
}

// attempts is how many pods of its index came before this one.
func attempts(pod *corev1.Pod) int {
	return number(pod, batchv1.JobIndexFailureCountAnnotation) + number(pod, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

func number(pod *corev1.Pod, annotation string) int {
	n, _ := strconv.Atoi(pod.Annotations[annotation])
	return max(n, 0)
}

// inherit notes on a new pod how often its index has failed, from the pod that it replaces (nil: none).
func inherit(job *batchv1.Job, pod, replaced *corev1.Pod) {
	if job.Spec.BackoffLimitPerIndex == nil {
		return
	}
	failures, ignored := 0, 0
	if replaced != nil {
		failures, ignored = number(replaced, batchv1.JobIndexFailureCountAnnotation), number(replaced, batchv1.JobIndexIgnoredFailureCountAnnotation)
		if _, ignore := failureAction(job, replaced); ignore {
			ignored++
		} else {
			failures++
		}
	}
	pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(failures)
	if ignored > 0 {
		pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}
