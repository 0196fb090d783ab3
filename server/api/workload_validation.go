package api

import (
	"bytes"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// workload checks what all controllers of pods have: a selector that chooses the template's pods, and a template whose
// pods are started again for ever.
func (c *check) workload(kind string, sel *metav1.LabelSelector, t *corev1.PodTemplateSpec) {
	spec := at("spec")
	if sel == nil {
		c.required(spec.Child("selector"), "")
	} else {
		c.selector(spec.Child("selector"), sel)
		if len(sel.MatchLabels)+len(sel.MatchExpressions) == 0 {
			c.invalid(spec.Child("selector"), sel, "empty selector is invalid for "+kind)
		}
		c.selects(spec.Child("template", "metadata", "labels"), sel, t.Labels)
	}
	c.podTemplate(spec.Child("template"), t)
	c.runsForEver(spec.Child("template", "spec"), &t.Spec, kind)
}

func (c *check) selects(at *field.Path, sel *metav1.LabelSelector, l map[string]string) {
	s, err := metav1.LabelSelectorAsSelector(sel)
	if err == nil && !s.Empty() && !s.Matches(labels.Set(l)) {
		c.invalid(at, l, "`selector` does not match template `labels`")
	}
}

func (c *check) runsForEver(at *field.Path, s *corev1.PodSpec, kind string) {
	if s.RestartPolicy != corev1.RestartPolicyAlways {
		c.add(field.NotSupported(at.Child("restartPolicy"), s.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if s.ActiveDeadlineSeconds != nil {
		c.forbidden(at.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported")
	}
}

// replicaCounts checks the counts of a status: none is negative, none larger than replicas.
func (c *check) replicaCounts(replicas int32, counts map[string]int32) {
	s := at("status")
	c.nonNegative(s.Child("replicas"), int64(replicas))
	for _, name := range sortedKeys(counts) {
		n := counts[name]
		c.nonNegative(s.Child(name), int64(n))
		if n > replicas {
			c.invalid(s.Child(name), n, "cannot be greater than status.replicas")
		}
	}
	if a, ok := counts["availableReplicas"]; ok && a > counts["readyReplicas"] {
		c.invalid(s.Child("availableReplicas"), a, "cannot be greater than readyReplicas")
	}
}

func validateDeployment(d *appsv1.Deployment) fieldErrors {
	c, s := &check{}, &d.Spec
	c.counts(at("spec"), map[string]*int32{
		"replicas": s.Replicas, "minReadySeconds": &s.MinReadySeconds,
		"revisionHistoryLimit": s.RevisionHistoryLimit, "progressDeadlineSeconds": s.ProgressDeadlineSeconds,
	})
	c.workload("deployment", s.Selector, &s.Template)
	if p := s.ProgressDeadlineSeconds; p != nil && *p <= s.MinReadySeconds {
		c.invalid(at("spec", "progressDeadlineSeconds"), *p, "must be greater than minReadySeconds")
	}
	path, u := at("spec", "strategy"), s.Strategy.RollingUpdate
	switch s.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if u != nil {
			c.forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if u == nil {
			c.required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")
			break
		}
		path = path.Child("rollingUpdate")
		c.amount(path.Child("maxUnavailable"), u.MaxUnavailable)
		c.amount(path.Child("maxSurge"), u.MaxSurge)
		if isZeroAmount(u.MaxUnavailable) && isZeroAmount(u.MaxSurge) {
			c.invalid(path.Child("maxUnavailable"), u.MaxUnavailable.String(), "may not be 0 when `maxSurge` is 0")
		}
		c.atMost100Percent(path.Child("maxUnavailable"), u.MaxUnavailable)
	default:
		oneOf(c, path.Child("type"), s.Strategy.Type, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
	}
	return c.errs
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) fieldErrors {
	c := &check{errs: validateDeployment(d)}
	c.immutable(at("spec", "selector"), d.Spec.Selector, old.Spec.Selector)
	return c.errs
}

func validateDeploymentStatus(d, old *appsv1.Deployment) fieldErrors {
	c, s := &check{}, d.Status
	c.nonNegative(at("status", "observedGeneration"), s.ObservedGeneration)
	c.replicaCounts(s.Replicas, map[string]int32{
		"updatedReplicas": s.UpdatedReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas,
	})
	c.nonNegative(at("status", "unavailableReplicas"), int64(s.UnavailableReplicas))
	c.notDecremented(s.CollisionCount, old.Status.CollisionCount)
	return c.errs
}

func (c *check) notDecremented(now, old *int32) {
	if old != nil && (now == nil || *now < *old) {
		c.invalid(at("status", "collisionCount"), deref(now), "cannot be decremented")
	}
}

func validateReplicaSet(r *appsv1.ReplicaSet) fieldErrors {
	c := &check{}
	c.counts(at("spec"), map[string]*int32{"replicas": r.Spec.Replicas, "minReadySeconds": &r.Spec.MinReadySeconds})
	c.workload("replicaset", r.Spec.Selector, &r.Spec.Template)
	return c.errs
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) fieldErrors {
	c := &check{errs: validateReplicaSet(r)}
	c.immutable(at("spec", "selector"), r.Spec.Selector, old.Spec.Selector)
	return c.errs
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) fieldErrors {
	c, s := &check{}, r.Status
	c.nonNegative(at("status", "observedGeneration"), s.ObservedGeneration)
	c.replicaCounts(s.Replicas, map[string]int32{
		"fullyLabeledReplicas": s.FullyLabeledReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas,
	})
	return c.errs
}

func validateReplicationController(r *corev1.ReplicationController) fieldErrors {
	c, spec := &check{}, at("spec")
	c.counts(spec, map[string]*int32{"replicas": r.Spec.Replicas, "minReadySeconds": &r.Spec.MinReadySeconds})
	if len(r.Spec.Selector) == 0 {
		c.required(spec.Child("selector"), "")
	}
	t := r.Spec.Template
	if t == nil {
		c.required(spec.Child("template"), "")
		return c.errs
	}
	if len(r.Spec.Selector) > 0 && !labels.SelectorFromSet(r.Spec.Selector).Matches(labels.Set(t.Labels)) {
		c.invalid(spec.Child("template", "metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	c.podTemplate(spec.Child("template"), t)
	c.runsForEver(spec.Child("template", "spec"), &t.Spec, "ReplicationController")
	return c.errs
}

func validateReplicationControllerUpdate(r, _ *corev1.ReplicationController) fieldErrors {
	return validateReplicationController(r)
}

func validateReplicationControllerStatus(r, _ *corev1.ReplicationController) fieldErrors {
	c, s := &check{}, r.Status
	c.nonNegative(at("status", "observedGeneration"), s.ObservedGeneration)
	c.replicaCounts(s.Replicas, map[string]int32{
		"fullyLabeledReplicas": s.FullyLabeledReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas,
	})
	return c.errs
}

func validateDaemonSet(d *appsv1.DaemonSet) fieldErrors {
	c, spec := &check{}, at("spec")
	c.counts(spec, map[string]*int32{"minReadySeconds": &d.Spec.MinReadySeconds, "revisionHistoryLimit": d.Spec.RevisionHistoryLimit})
	c.workload("daemonset", d.Spec.Selector, &d.Spec.Template)
	u := d.Spec.UpdateStrategy
	switch path := spec.Child("updateStrategy"); u.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		r := u.RollingUpdate
		path = path.Child("rollingUpdate")
		if r == nil {
			c.required(path, "")
			break
		}
		c.amount(path.Child("maxUnavailable"), r.MaxUnavailable)
		c.amount(path.Child("maxSurge"), r.MaxSurge)
		c.atMost100Percent(path.Child("maxUnavailable"), r.MaxUnavailable)
		c.atMost100Percent(path.Child("maxSurge"), r.MaxSurge)
		noUnavailable := r.MaxUnavailable == nil || isZeroAmount(r.MaxUnavailable)
		noSurge := r.MaxSurge == nil || isZeroAmount(r.MaxSurge)
		if noUnavailable && noSurge {
			c.required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
		} else if !noUnavailable && !noSurge {
			c.invalid(path.Child("maxSurge"), r.MaxSurge.String(), "may not be set when maxUnavailable is non-zero")
		}
	default:
		oneOf(c, path, u.Type, appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)
	}
	return c.errs
}

func validateDaemonSetUpdate(d, old *appsv1.DaemonSet) fieldErrors {
	c := &check{errs: validateDaemonSet(d)}
	c.immutable(at("spec", "selector"), d.Spec.Selector, old.Spec.Selector)
	return c.errs
}

func validatePodTemplate(t *corev1.PodTemplate) fieldErrors {
	c := &check{}
	c.podTemplate(at("template"), &t.Template)
	return c.errs
}

func validatePodTemplateUpdate(t, _ *corev1.PodTemplate) fieldErrors { return validatePodTemplate(t) }

func validateControllerRevision(r *appsv1.ControllerRevision) fieldErrors {
	c, data := &check{}, at("data")
	c.nonNegative(at("revision"), r.Revision)
	var v any
	switch raw := r.Data.Raw; {
	case len(raw) == 0:
		c.required(data, "data is mandatory")
	case json.Unmarshal(raw, &v) != nil:
		c.invalid(data, "<value omitted>", fmt.Sprintf("error parsing data: %v", json.Unmarshal(raw, &v)))
	case !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")):
		c.required(data, "data must be a valid JSON object")
	}
	return c.errs
}

func validateControllerRevisionUpdate(r, old *appsv1.ControllerRevision) fieldErrors {
	c := &check{}
	c.nonNegative(at("revision"), r.Revision)
	c.immutable(at("data"), r.Data, old.Data)
	return c.errs
}
