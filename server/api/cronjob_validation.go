package api

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // hosts at the edge often have no zones of their own

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A job's pods have its name and a suffix, so a CronJob's name leaves room for the job's own suffix.
const maxCronJobName = 52

func validateCronJob(cj *batchv1.CronJob) fieldErrors {
	c := &check{errs: validateCronJobUpdate(cj, nil)}
	if len(cj.Name) > maxCronJobName {
		c.invalid(at("metadata", "name"), cj.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName))
	}
	return c.errs
}

func validateCronJobUpdate(cj, old *batchv1.CronJob) fieldErrors {
	c, spec, s := &check{}, at("spec"), &cj.Spec
	if c.needs(spec.Child("schedule"), s.Schedule) {
		c.schedule(spec.Child("schedule"), s.Schedule)
	}
	// A zone that was taken stays, even if the list of zones has changed since.
	if s.TimeZone != nil && (old == nil || deref(old.Spec.TimeZone) != *s.TimeZone) {
		c.timeZone(spec.Child("timeZone"), *s.TimeZone)
	}
	if d := s.StartingDeadlineSeconds; d != nil {
		c.nonNegative(spec.Child("startingDeadlineSeconds"), *d)
	}
	oneOf(c, spec.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	c.counts(spec, map[string]*int32{"successfulJobsHistoryLimit": s.SuccessfulJobsHistoryLimit, "failedJobsHistoryLimit": s.FailedJobsHistoryLimit})
	c.jobSpec(spec.Child("jobTemplate", "spec"), &s.JobTemplate.Spec, false)
	return c.errs
}

// schedule checks the shape of a cron expression: five fields, or a word like @daily.
func (c *check) schedule(at *field.Path, s string) {
	if strings.Contains(s, "TZ") {
		c.invalid(at, s, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
		return
	}
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		if _, err := time.ParseDuration(every); err != nil {
			c.invalid(at, s, fmt.Sprintf("failed to parse duration %s: %v", s, err))
		}
		return
	}
	if strings.HasPrefix(s, "@") {
		if !slices.Contains([]string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}, s) {
			c.invalid(at, s, "unrecognized descriptor: "+s)
		}
		return
	}
	fields := strings.Fields(s)
	if len(fields) != 5 {
		c.invalid(at, s, fmt.Sprintf("expected exactly 5 fields, found %d: %v", len(fields), fields))
		return
	}
	for i, f := range fields {
		if err := cronField(f, cronRanges[i]); err != nil {
			c.invalid(at, s, err.Error())
		}
	}
}

// zoneName holds a name to the characters of the zone database before it becomes the path of a file.
func zoneName(zone string) bool {
	for part := range strings.SplitSeq(zone, "/") {
		if part == "" || len(part) > 14 || part == "." || part == ".." || part[0] == '-' {
			return false
		}
		for _, r := range part {
			if !strings.ContainsRune("+-_.", r) && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

func (c *check) timeZone(at *field.Path, zone string) {
	switch {
	case zone == "":
		c.invalid(at, zone, "timeZone must be nil or non-empty string")
	case strings.EqualFold(zone, "Local"):
		c.invalid(at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	case !zoneName(zone):
		c.invalid(at, zone, "unknown time zone "+zone)
	default:
		if _, err := time.LoadLocation(zone); err != nil {
			c.invalid(at, zone, err.Error())
		}
	}
}
