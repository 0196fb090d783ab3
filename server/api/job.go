package api

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
)

func job() *Kind {
	return &Kind{
		Group: "batch", Kind: "Job", Plural: "jobs", Singular: "job", Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[batchv1.Job, batchv1.JobList]("batch", "v1")},
		Prefix:   "/registry/jobs",
		Strategy: Strategy{
			Default: do(defaultJob),
			PrepareCreate: created(func(j *batchv1.Job) {
				j.Status = batchv1.JobStatus{}
				selectJobPods(j)
			}),
			PrepareUpdate: updated(func(j, old *batchv1.Job) { j.Status = old.Status },
				func(j *batchv1.Job) any { return j.Spec }),
			Validate:                 one(validateJob),
			ValidateUpdate:           pair(validateJobUpdate),
			Warnings:                 pair(jobWarnings),
			AllowUnconditionalUpdate: true,
			DefaultPropagation:       metav1.DeletePropagationBackground,
		},
		Subresources: []Subresource{status(func(to, from *batchv1.Job) { to.Status = from.Status }, validateJobStatus)},
		Columns: append(append([]Column{
			str("Status", "how the job stands", jobState),
			str("Completions", "pods that succeeded, of how many", jobCompletions),
			col("Duration", "string", "time from start to completion, or until now", func(j *batchv1.Job, now time.Time) any {
				if j.Status.StartTime == nil {
					return ""
				}
				if end := j.Status.CompletionTime; end != nil {
					now = end.Time
				}
				return duration.HumanDuration(now.Sub(j.Status.StartTime.Time))
			}),
			age(),
		}, containerColumns(func(j *batchv1.Job) *corev1.PodSpec { return &j.Spec.Template.Spec }, true)...),
			selectorColumn(func(j *batchv1.Job) *metav1.LabelSelector { return j.Spec.Selector })),
		Fields: one(func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		}),
		FieldNames: []string{"status.successful"},
	}
}

func defaultJob(j *batchv1.Job) {
	defaultJobSpec(&j.Spec)
	if len(j.Labels) == 0 && len(j.Spec.Template.Labels) > 0 {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
	if j.Spec.Completions == nil && j.Spec.Parallelism == nil {
		unset(&j.Spec.Completions, 1)
	}
	unset(&j.Spec.Parallelism, 1)
	if j.Spec.BackoffLimitPerIndex != nil {
		unset(&j.Spec.BackoffLimit, math.MaxInt32)
	}
	unset(&j.Spec.BackoffLimit, 6)
	unset(&j.Spec.CompletionMode, batchv1.NonIndexedCompletion)
	unset(&j.Spec.Suspend, false)
	if j.Spec.PodFailurePolicy != nil {
		unset(&j.Spec.PodReplacementPolicy, batchv1.Failed)
	}
	unset(&j.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	unset(&j.Spec.ManualSelector, false)
}

// defaultJobSpec has the part that is also done to a CronJob's template.
func defaultJobSpec(s *batchv1.JobSpec) {
	defaultPodTemplate(&s.Template)
	if s.PodFailurePolicy == nil {
		return
	}
	for i := range s.PodFailurePolicy.Rules {
		for k := range s.PodFailurePolicy.Rules[i].OnPodConditions {
			blank(&s.PodFailurePolicy.Rules[i].OnPodConditions[k].Status, corev1.ConditionTrue)
		}
	}
}

// selectJobPods makes selector and pod labels from the job's uid, so that no two jobs ever share pods; the unprefixed
// labels are for programs written before there was a prefix. What the user has set stays: validation refuses it when
// it disagrees.
func selectJobPods(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector) {
		return
	}
	name, uid := j.Name, string(j.UID)
	labels := &j.Spec.Template.Labels
	setMissing(labels, legacyJobNameLabel, name)
	setMissing(labels, batchv1.JobNameLabel, name)
	setMissing(labels, legacyControllerUIDLabel, uid)
	setMissing(labels, batchv1.ControllerUidLabel, uid)
	unset(&j.Spec.Selector, metav1.LabelSelector{})
	setMissing(&j.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, uid)
}

const (
	legacyJobNameLabel       = "job-name"
	legacyControllerUIDLabel = "controller-uid"
)

func setMissing(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	if _, ok := (*m)[key]; !ok {
		(*m)[key] = value
	}
}

func jobState(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if p := deref(j.Spec.Parallelism); p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}
