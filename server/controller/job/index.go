package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

const indexEnv = "JOB_COMPLETION_INDEX"

func isIndexed(job *batchv1.Job) bool {
	return deref(job.Spec.CompletionMode) == batchv1.IndexedCompletion
}

func indexOf(pod *corev1.Pod) (int, bool) {
	i, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i, err == nil && i >= 0
}

// podOf makes a pod; index is -1 for a Job without indexes.
func podOf(job *batchv1.Job, index int) *corev1.Pod {
	pod := replica.PodOf(&job.Spec.Template, job, *metav1.NewControllerRef(job, gvk))
	pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	if index < 0 {
		return pod
	}
	n := strconv.Itoa(index)
	pod.GenerateName = job.Name + "-" + n + "-"
	pod.Labels, pod.Annotations = with(pod.Labels, n), with(pod.Annotations, n)
	if pod.Spec.Hostname == "" {
		pod.Spec.Hostname = job.Name + "-" + n
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !slices.ContainsFunc(list[i].Env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
				list[i].Env = append(list[i].Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{
					FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"}}})
			}
		}
	}
	return pod
}

func with(m map[string]string, index string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[batchv1.JobCompletionIndexAnnotation] = index
	return m
}

// parseIndexes reads "0-3,7"; what is not such a list counts as nothing.
func parseIndexes(s string) map[int]bool {
	set := map[int]bool{}
	for _, part := range strings.Split(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		for i := a; i <= b; i++ {
			set[i] = true
		}
	}
	return set
}

// below drops the indexes that a shrunk Job no longer has.
func below(set map[int]bool, completions int) map[int]bool {
	maps.DeleteFunc(set, func(i int, _ bool) bool { return i >= completions })
	return set
}

// formatIndexes writes a set as "0-3,7"; two neighbours stand as "1,2".
func formatIndexes(set map[int]bool) string {
	var parts []string
	list := slices.Sorted(maps.Keys(set))
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, strconv.Itoa(list[i]))
		case j == i+1:
			parts = append(parts, fmt.Sprintf("%d,%d", list[i], list[j]))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
