package api

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func cronJob() *Kind {
	template := func(c *batchv1.CronJob) *batchv1.JobSpec { return &c.Spec.JobTemplate.Spec }
	return &Kind{
		Group: "batch", Kind: "CronJob", Plural: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"},
		Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[batchv1.CronJob, batchv1.CronJobList]("batch", "v1")},
		Prefix:   "/registry/cronjobs",
		Strategy: Strategy{
			Default: do(func(c *batchv1.CronJob) {
				blank(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
				unset(&c.Spec.Suspend, false)
				unset(&c.Spec.SuccessfulJobsHistoryLimit, 3)
				unset(&c.Spec.FailedJobsHistoryLimit, 1)
				defaultJobSpec(template(c))
			}),
			PrepareCreate: created(func(c *batchv1.CronJob) { c.Status = batchv1.CronJobStatus{} }),
			PrepareUpdate: updated(func(c, old *batchv1.CronJob) { c.Status = old.Status },
				func(c *batchv1.CronJob) any { return c.Spec }),
			Validate:                 one(validateCronJob),
			ValidateUpdate:           pair(validateCronJobUpdate),
			Warnings:                 pair(cronJobWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *batchv1.CronJob) { to.Status = from.Status }, nil)},
		Columns: append(append([]Column{
			str("Schedule", "when it runs, as cron writes it", func(c *batchv1.CronJob) string { return c.Spec.Schedule }),
			str("Timezone", "time zone of the schedule", func(c *batchv1.CronJob) string { return orNone(deref(c.Spec.TimeZone)) }),
			col("Suspend", "boolean", "whether no new jobs are started", func(c *batchv1.CronJob, _ time.Time) any {
				return boolString(c.Spec.Suspend)
			}),
			num("Active", "jobs that are running", func(c *batchv1.CronJob) int { return len(c.Status.Active) }),
			col("Last Schedule", "string", "time since a job was started", func(c *batchv1.CronJob, now time.Time) any {
				return sinceLast(c.Status.LastScheduleTime, now)
			}),
			age(),
		}, containerColumns(func(c *batchv1.CronJob) *corev1.PodSpec { return &template(c).Template.Spec }, true)...),
			selectorColumn(func(c *batchv1.CronJob) *metav1.LabelSelector { return template(c).Selector })),
	}
}

// boolString is how upstream prints an optional bool.
func boolString(b *bool) string {
	switch {
	case b == nil:
		return "<unset>"
	case *b:
		return "True"
	}
	return "False"
}
