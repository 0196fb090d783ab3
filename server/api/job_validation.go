package api

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// An indexed job keeps its indexes in its status, so there can only be so many.
const (
	maxIndexedParallelism = 100_000
	maxFailurePolicyRules = 20
	maxExitCodes          = 255
	maxManagedByLength    = 63
)

func validateJob(j *batchv1.Job) fieldErrors {
	c := &check{}
	c.generatedSelector(j)
	c.jobSpec(at("spec"), &j.Spec, true)
	if n := deref(j.Spec.Completions); n > 0 && deref(j.Spec.CompletionMode) == batchv1.IndexedCompletion {
		host := fmt.Sprintf("%s-%d", j.Name, n-1)
		if len(validation.IsDNS1123Label(host)) > 0 {
			c.invalid(at("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+host)
		}
	}
	return c.errs
}

// generatedSelector: unless the user manages it, the selector is the one made from the uid, and so are the labels.
func (c *check) generatedSelector(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return
	}
	want := labels.Set{batchv1.ControllerUidLabel: string(j.UID), legacyControllerUIDLabel: string(j.UID), batchv1.JobNameLabel: j.Name, legacyJobNameLabel: j.Name}
	have := j.Spec.Template.Labels
	for _, k := range sortedKeys(want) {
		// Jobs made before the prefixed labels have only the others.
		if have[k] != want[k] && (have[k] != "" || k == legacyControllerUIDLabel || k == legacyJobNameLabel) {
			c.invalid(at("spec", "template", "metadata", "labels").Key(k), have, fmt.Sprintf("must be '%s'", want[k]))
		}
	}
	if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(want) {
		c.invalid(at("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
}

// jobSpec; the template in a CronJob has no selector yet.
func (c *check) jobSpec(at *field.Path, s *batchv1.JobSpec, own bool) {
	if own {
		if s.Selector == nil {
			c.required(at.Child("selector"), "")
		} else {
			c.selector(at.Child("selector"), s.Selector)
			c.selects(at.Child("template", "metadata", "labels"), s.Selector, s.Template.Labels)
		}
	}
	c.counts(at, map[string]*int32{
		"parallelism": s.Parallelism, "completions": s.Completions, "backoffLimit": s.BackoffLimit,
		"ttlSecondsAfterFinished": s.TTLSecondsAfterFinished, "backoffLimitPerIndex": s.BackoffLimitPerIndex, "maxFailedIndexes": s.MaxFailedIndexes,
	})
	if d := s.ActiveDeadlineSeconds; d != nil {
		c.nonNegative(at.Child("activeDeadlineSeconds"), *d)
	}
	if s.ManagedBy != nil {
		path := at.Child("managedBy")
		c.add(validation.IsDomainPrefixedPath(path, *s.ManagedBy)...)
		if len(*s.ManagedBy) > maxManagedByLength {
			c.add(field.TooLong(path, "", maxManagedByLength))
		}
	}
	c.completionMode(at, s)
	if s.PodFailurePolicy != nil {
		c.podFailurePolicy(at.Child("podFailurePolicy"), s)
	}
	if p := s.PodReplacementPolicy; p != nil {
		allowed := []batchv1.PodReplacementPolicy{batchv1.Failed}
		if s.PodFailurePolicy == nil {
			allowed = append(allowed, batchv1.TerminatingOrFailed)
		}
		oneOf(c, at.Child("podReplacementPolicy"), *p, allowed...)
	}
	c.podTemplate(at.Child("template"), &s.Template)
	switch path, r := at.Child("template", "spec", "restartPolicy"), s.Template.Spec.RestartPolicy; {
	case r == corev1.RestartPolicyAlways || r == "":
		c.required(path, `valid values: "OnFailure", "Never"`)
	case s.PodFailurePolicy != nil && r != corev1.RestartPolicyNever:
		c.invalid(path, r, `only "Never" is supported when podFailurePolicy is specified`)
	}
}

func (c *check) completionMode(at *field.Path, s *batchv1.JobSpec) {
	mode := deref(s.CompletionMode)
	if s.CompletionMode != nil {
		oneOf(c, at.Child("completionMode"), mode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		c.required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if mode != batchv1.IndexedCompletion {
		if s.BackoffLimitPerIndex != nil {
			c.invalid(at.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode")
		}
		if s.MaxFailedIndexes != nil {
			c.invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode")
		}
		if s.SuccessPolicy != nil {
			c.invalid(at.Child("successPolicy"), *s.SuccessPolicy, "requires indexed completion mode")
		}
		return
	}
	if s.Completions == nil {
		c.required(at.Child("completions"), "when completion mode is Indexed")
	}
	if p := deref(s.Parallelism); p > maxIndexedParallelism {
		c.invalid(at.Child("parallelism"), p, fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism))
	}
	if s.Completions != nil && deref(s.MaxFailedIndexes) > *s.Completions {
		c.invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "must be less than or equal to completions")
	}
	if s.SuccessPolicy != nil {
		c.successPolicy(at.Child("successPolicy", "rules"), s)
	}
}

func (c *check) successPolicy(at *field.Path, s *batchv1.JobSpec) {
	if len(s.SuccessPolicy.Rules) == 0 {
		c.required(at, "at least one rules must be specified when the successPolicy is specified")
	}
	for i, r := range s.SuccessPolicy.Rules {
		if r.SucceededCount == nil && r.SucceededIndexes == nil {
			c.required(at.Index(i), "at least one of succeededCount or succeededIndexes must be specified")
		}
		if n := r.SucceededCount; n != nil {
			c.nonNegative(at.Index(i).Child("succeededCount"), int64(*n))
			if s.Completions != nil && *n > *s.Completions {
				c.invalid(at.Index(i).Child("succeededCount"), *n,
					fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", *s.Completions))
			}
		}
	}
}

func (c *check) podFailurePolicy(at *field.Path, s *batchv1.JobSpec) {
	at = at.Child("rules")
	names := map[string]bool{}
	for _, cs := range [][]corev1.Container{s.Template.Spec.Containers, s.Template.Spec.InitContainers} {
		for i := range cs {
			names[cs[i].Name] = true
		}
	}
	if n := len(s.PodFailurePolicy.Rules); n > maxFailurePolicyRules {
		c.add(field.TooMany(at, n, maxFailurePolicyRules))
	}
	for i, r := range s.PodFailurePolicy.Rules {
		path := at.Index(i)
		oneOf(c, path.Child("action"), r.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
		if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
			c.invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
		}
		for k, p := range r.OnPodConditions {
			cond := path.Child("onPodConditions").Index(k)
			c.invalid(cond.Child("type"), p.Type, validation.IsQualifiedName(string(p.Type))...)
			oneOf(c, cond.Child("status"), p.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
		}
		if r.OnExitCodes != nil {
			c.exitCodes(path.Child("onExitCodes"), r.OnExitCodes, names)
		}
		switch codes, conditions := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; {
		case codes && conditions:
			c.invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case !codes && !conditions:
			c.invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
}

func (c *check) exitCodes(at *field.Path, e *batchv1.PodFailurePolicyOnExitCodesRequirement, names map[string]bool) {
	oneOf(c, at.Child("operator"), e.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := e.ContainerName; n != nil && !names[*n] {
		c.invalid(at.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
	}
	values := at.Child("values")
	switch n := len(e.Values); {
	case n == 0:
		c.invalid(values, e.Values, "at least one value is required")
	case n > maxExitCodes:
		c.add(field.TooMany(values, n, maxExitCodes))
	}
	seen := once{}
	for i, v := range e.Values {
		if v == 0 && e.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			c.invalid(values.Index(i), v, "must not be 0 for the In operator")
		}
		seen.add(c, values.Index(i), fmt.Sprint(v))
	}
	if !slices.IsSorted(e.Values) {
		c.invalid(values, e.Values, "must be ordered")
	}
}

func validateJobUpdate(j, old *batchv1.Job) fieldErrors {
	c, spec := &check{}, at("spec")
	c.jobSpec(spec, &j.Spec, true)
	indexed := deref(j.Spec.CompletionMode) == batchv1.IndexedCompletion
	switch now, was := j.Spec.Completions, old.Spec.Completions; {
	case apiequality.Semantic.DeepEqual(now, was):
	case !indexed:
		c.immutable(spec.Child("completions"), now, was)
	case !apiequality.Semantic.DeepEqual(now, j.Spec.Parallelism):
		c.invalid(spec.Child("completions"), now, fmt.Sprintf("can only be modified in tandem with %s", spec.Child("parallelism")))
	}
	c.immutable(spec.Child("selector"), j.Spec.Selector, old.Spec.Selector)
	c.jobTemplateUpdate(spec.Child("template"), j, old)
	c.immutable(spec.Child("completionMode"), j.Spec.CompletionMode, old.Spec.CompletionMode)
	c.immutable(spec.Child("podFailurePolicy"), j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy)
	c.immutable(spec.Child("backoffLimitPerIndex"), j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex)
	c.immutable(spec.Child("managedBy"), j.Spec.ManagedBy, old.Spec.ManagedBy)
	c.immutable(spec.Child("successPolicy"), j.Spec.SuccessPolicy, old.Spec.SuccessPolicy)
	return c.errs
}

// jobTemplateUpdate: while a job is suspended and no pod of it was started, queue managers may say where its pods go
// (KEP-2926) and what they get.
func (c *check) jobTemplateUpdate(at *field.Path, j, old *batchv1.Job) {
	was, now := old.Spec.Template.DeepCopy(), &j.Spec.Template
	if deref(old.Spec.Suspend) && (old.Status.StartTime == nil || jobSuspendedAndIdle(old)) {
		if a := now.Spec.Affinity; a != nil {
			unset(&was.Spec.Affinity, corev1.Affinity{})
			was.Spec.Affinity.NodeAffinity = a.NodeAffinity
		} else if was.Spec.Affinity != nil {
			was.Spec.Affinity.NodeAffinity = nil
			if *was.Spec.Affinity == (corev1.Affinity{}) {
				was.Spec.Affinity = nil
			}
		}
		was.Spec.NodeSelector, was.Spec.Tolerations, was.Spec.SchedulingGates = now.Spec.NodeSelector, now.Spec.Tolerations, now.Spec.SchedulingGates
		was.Labels, was.Annotations = now.Labels, now.Annotations
		for i := range min(len(was.Spec.Containers), len(now.Spec.Containers)) {
			was.Spec.Containers[i].Resources = now.Spec.Containers[i].Resources
		}
		for i := range min(len(was.Spec.InitContainers), len(now.Spec.InitContainers)) {
			was.Spec.InitContainers[i].Resources = now.Spec.InitContainers[i].Resources
		}
	}
	c.immutable(at, *now, *was)
}

func jobSuspendedAndIdle(j *batchv1.Job) bool {
	for _, cond := range j.Status.Conditions {
		if cond.Type == batchv1.JobSuspended && cond.Status == corev1.ConditionTrue {
			return j.Status.Active == 0
		}
	}
	return false
}

func validateJobStatus(j, _ *batchv1.Job) fieldErrors {
	c, path, s := &check{}, at("status"), &j.Status
	c.counts(path, map[string]*int32{"active": &s.Active, "succeeded": &s.Succeeded, "failed": &s.Failed, "ready": s.Ready, "terminating": s.Terminating})
	has := map[batchv1.JobConditionType]bool{}
	for _, cond := range s.Conditions {
		has[cond.Type] = has[cond.Type] || cond.Status == corev1.ConditionTrue
	}
	exclude := func(a, b batchv1.JobConditionType) {
		if has[a] && has[b] {
			c.invalid(path.Child("conditions"), field.OmitValueType{}, fmt.Sprintf("cannot set %s=True and %s=true conditions", a, b))
		}
	}
	exclude(batchv1.JobComplete, batchv1.JobFailed)
	exclude(batchv1.JobComplete, batchv1.JobFailureTarget)
	exclude(batchv1.JobSuccessCriteriaMet, batchv1.JobFailed)
	exclude(batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget)
	if has[batchv1.JobComplete] && s.CompletionTime == nil {
		c.required(path.Child("completionTime"), "completionTime is required for Complete jobs")
	}
	if s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		c.invalid(path.Child("completionTime"), s.CompletionTime, "must be equal to or after `startTime`")
	}
	if (has[batchv1.JobComplete] || has[batchv1.JobFailed]) && s.Active > 0 {
		c.invalid(path.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	return c.errs
}
