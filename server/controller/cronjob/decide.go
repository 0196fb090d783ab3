package cronjob

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tooMany missed runs are told of: the clock was changed, or the server was off for long.
const tooMany = 100

type note struct{ kind, reason, message string }

// plan is what to do, in the order of the fields.
type plan struct {
	remove []*batchv1.Job // replaced, or beyond the history limits
	create *batchv1.Job
	status batchv1.CronJobStatus // without what create adds to it
	notes  []note
	after  time.Duration
}

func (p plan) String() string {
	var b strings.Builder
	for _, job := range p.remove {
		fmt.Fprintf(&b, "delete %s\n", job.Name)
	}
	if p.create != nil {
		fmt.Fprintf(&b, "create %s\n", p.create.Name)
	}
	var active []string
	for _, ref := range p.status.Active {
		active = append(active, ref.Name)
	}
	fmt.Fprintf(&b, "status active=%s", strings.Join(active, ","))
	if t := p.status.LastScheduleTime; t != nil {
		fmt.Fprintf(&b, " lastSchedule=%s", t.UTC().Format(time.RFC3339))
	}
	if t := p.status.LastSuccessfulTime; t != nil {
		fmt.Fprintf(&b, " lastSuccess=%s", t.UTC().Format(time.RFC3339))
	}
	b.WriteByte('\n')
	for _, n := range p.notes {
		fmt.Fprintf(&b, "%s %s: %s\n", n.kind, n.reason, n.message)
	}
	if p.after > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.after)
	}
	return b.String()
}

func (p *plan) note(kind, reason, format string, args ...any) {
	p.notes = append(p.notes, note{kind, reason, fmt.Sprintf(format, args...)})
}

// decide is pure. jobs are those that the CronJob controls.
func decide(c *batchv1.CronJob, jobs []*batchv1.Job, now time.Time) plan {
	p := plan{status: *c.Status.DeepCopy()}
	p.follow(jobs)
	p.tidy(c, jobs)
	if c.DeletionTimestamp != nil || c.Spec.Suspend != nil && *c.Spec.Suspend {
		return p
	}
	zone := time.UTC
	if c.Spec.TimeZone != nil {
		var err error
		if zone, err = time.LoadLocation(*c.Spec.TimeZone); err != nil {
			p.note(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *c.Spec.TimeZone, err)
			return p
		}
	}
	s, err := parse(c.Spec.Schedule, zone)
	if err != nil {
		p.note(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", c.Spec.Schedule, err)
		return p
	}
	if next := s.next(now); !next.IsZero() {
		p.after = next.Sub(now)
	}
	p.start(c, jobs, s, now)
	return p
}

// follow brings the list of active jobs up to date.
func (p *plan) follow(jobs []*batchv1.Job) {
	byUID := map[types.UID]*batchv1.Job{}
	for _, job := range jobs {
		byUID[job.UID] = job
		if t := job.Status.CompletionTime; ended(job) == batchv1.JobComplete && t != nil && (p.status.LastSuccessfulTime == nil || p.status.LastSuccessfulTime.Before(t)) {
			p.status.LastSuccessfulTime = t
		}
	}
	p.status.Active = slices.DeleteFunc(p.status.Active, func(ref corev1.ObjectReference) bool {
		switch job := byUID[ref.UID]; {
		case job == nil:
			p.note(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
		case ended(job) != "":
			p.note(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", ref.Name, ended(job))
		default:
			return false
		}
		return true
	})
}

func ended(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// tidy removes the oldest jobs that have ended beyond the history limits.
func (p *plan) tidy(c *batchv1.CronJob, jobs []*batchv1.Job) {
	for _, kind := range []struct {
		condition batchv1.JobConditionType
		limit     *int32
	}{{batchv1.JobComplete, c.Spec.SuccessfulJobsHistoryLimit}, {batchv1.JobFailed, c.Spec.FailedJobsHistoryLimit}} {
		old := slices.DeleteFunc(slices.Clone(jobs), func(j *batchv1.Job) bool { return ended(j) != kind.condition || j.DeletionTimestamp != nil })
		if kind.limit == nil || len(old) <= int(*kind.limit) {
			continue
		}
		slices.SortStableFunc(old, func(a, b *batchv1.Job) int { return cmp.Or(began(a).Compare(began(b)), cmp.Compare(a.Name, b.Name)) })
		p.remove = append(p.remove, old[:len(old)-int(*kind.limit)]...)
	}
}

func began(job *batchv1.Job) time.Time {
	if job.Status.StartTime != nil {
		return job.Status.StartTime.Time
	}
	return job.CreationTimestamp.Time
}

// start plans the run that is due, if one is.
func (p *plan) start(c *batchv1.CronJob, jobs []*batchv1.Job, s schedule, now time.Time) {
	earliest := c.CreationTimestamp.Time
	if t := p.status.LastScheduleTime; t != nil {
		earliest = t.Time
	}
	if d := c.Spec.StartingDeadlineSeconds; d != nil {
		if oldest := now.Add(-time.Duration(*d) * time.Second); oldest.After(earliest) {
			// One second before, since a run at that very time is still in time.
			earliest = oldest.Add(-time.Second)
			if t := p.status.LastScheduleTime; t != nil && earliest.Before(t.Time) {
				earliest = t.Time
			}
		}
	}
	at, missed := s.last(earliest, now)
	if at.IsZero() {
		return
	}
	if missed > tooMany {
		p.note(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if d := c.Spec.StartingDeadlineSeconds; d != nil && at.Add(time.Duration(*d)*time.Second).Before(now) {
		p.note(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", at.UTC().Format(time.RFC1123Z))
		return
	}
	name := fmt.Sprintf("%s-%d", c.Name, at.Unix()/60)
	if i := slices.IndexFunc(jobs, func(j *batchv1.Job) bool { return j.Name == name }); i >= 0 {
		p.started(jobs[i], at) // we made it, and did not come to write it down
		return
	}
	switch {
	case c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(p.status.Active) > 0:
		p.note(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return
	case c.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, ref := range p.status.Active {
			p.remove = append(p.remove, jobs[slices.IndexFunc(jobs, func(j *batchv1.Job) bool { return j.UID == ref.UID })])
		}
		p.status.Active = nil
	}
	p.create = jobOf(c, name, at)
	p.status.LastScheduleTime = &metav1.Time{Time: at}
}

// started notes a job that exists, at its scheduled time.
func (p *plan) started(job *batchv1.Job, at time.Time) {
	p.status.LastScheduleTime = &metav1.Time{Time: at}
	if ended(job) == "" && !slices.ContainsFunc(p.status.Active, func(r corev1.ObjectReference) bool { return r.UID == job.UID }) {
		p.status.Active = append(p.status.Active, refTo(job))
	}
}

func refTo(job *batchv1.Job) corev1.ObjectReference {
	apiVersion, kind := batchv1.SchemeGroupVersion.WithKind("Job").ToAPIVersionAndKind()
	return corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: job.Namespace, Name: job.Name, UID: job.UID, ResourceVersion: job.ResourceVersion}
}

func jobOf(c *batchv1.CronJob, name string, at time.Time) *batchv1.Job {
	t := c.Spec.JobTemplate.DeepCopy()
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name, Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, gvk)}},
		Spec: t.Spec,
	}
}
