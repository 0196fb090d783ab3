package api

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) fieldErrors {
	c := &check{}
	c.pod(p)
	if len(p.Spec.EphemeralContainers) > 0 {
		c.forbidden(at("spec", "ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		c.forbidden(at("spec", "nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	if value, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror && p.Spec.NodeName == "" {
		c.invalid(at("metadata", "annotations").Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set")
	}
	return c.errs
}

// staysMirror: whether a pod is the picture of one that a node made itself is said once, because such a pod gives its node nothing of the API.
func (c *check) staysMirror(p, old *corev1.Pod) {
	now, is := p.Annotations[corev1.MirrorPodAnnotationKey]
	before, was := old.Annotations[corev1.MirrorPodAnnotationKey]
	path := at("metadata", "annotations").Key(corev1.MirrorPodAnnotationKey)
	switch {
	case was && now != before || was && !is:
		c.forbidden(path, "may not remove or update mirror pod annotation")
	case is && !was:
		c.forbidden(path, "may not add mirror pod annotation")
	}
}

func (c *check) pod(p *corev1.Pod) {
	c.podSpec(at("spec"), &p.Spec, true)
	if p.Spec.ServiceAccountName != "" {
		return
	}
	for i, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for j, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				c.forbidden(at("spec", "volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set")
			}
		}
	}
}

// podMayChange names what an update of a pod may change.
var podMayChange = strings.Join([]string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}, ",")

func validatePodUpdate(p, old *corev1.Pod) fieldErrors {
	c := &check{}
	c.pod(p)
	c.staysMirror(p, old)
	spec := at("spec")
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		c.forbidden(spec.Child("containers"), "pod updates may not add or remove containers")
		return c.errs
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		c.forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers")
		return c.errs
	}
	c.deadlineUpdate(spec.Child("activeDeadlineSeconds"), p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)
	c.onlyMoreTolerations(spec.Child("tolerations"), p.Spec.Tolerations, old.Spec.Tolerations)
	had := map[string]bool{}
	for _, g := range old.Spec.SchedulingGates {
		had[g.Name] = true
	}
	for i, g := range p.Spec.SchedulingGates {
		if !had[g.Name] {
			c.forbidden(spec.Child("schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
		}
	}
	// What may change is set back; then nothing may differ.
	rest := p.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.SchedulingGates, rest.Tolerations = old.Spec.SchedulingGates, old.Spec.Tolerations
	if deref(old.Spec.TerminationGracePeriodSeconds) < 0 && deref(rest.TerminationGracePeriodSeconds) == 1 {
		rest.TerminationGracePeriodSeconds = old.Spec.TerminationGracePeriodSeconds
	}
	if len(old.Spec.SchedulingGates) > 0 {
		c.gatedUpdate(spec, rest, &old.Spec)
	}
	if !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		c.forbidden(spec, fmt.Sprintf("pod updates may not change fields other than %s\n%v", podMayChange, diff.Diff(old.Spec, *rest)))
	}
	return c.errs
}

// deadlineUpdate: a deadline may be set, and brought nearer.
func (c *check) deadlineUpdate(at *field.Path, now, old *int64) {
	switch {
	case now == nil && old != nil:
		c.invalid(at, now, "must not update from a positive integer to nil value")
	case now == nil:
	case *now < 0 || *now > math.MaxInt32:
		c.between(at, *now, 0, math.MaxInt32)
	case old != nil && *old < *now:
		c.invalid(at, *now, "must be less than or equal to previous value")
	}
}

func (c *check) onlyMoreTolerations(at *field.Path, now, old []corev1.Toleration) {
	for _, o := range old {
		kept := false
		for _, n := range now {
			n.TolerationSeconds = o.TolerationSeconds
			kept = kept || apiequality.Semantic.DeepEqual(n, o)
		}
		if !kept {
			c.forbidden(at, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

// gatedUpdate: a pod that no scheduler has looked at may have its node selection narrowed.
func (c *check) gatedUpdate(at *field.Path, now, old *corev1.PodSpec) {
	for k, v := range old.NodeSelector {
		if have, ok := now.NodeSelector[k]; !ok || have != v {
			c.invalid(at.Child("nodeSelector"), now.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	now.NodeSelector = old.NodeSelector
	var before *corev1.NodeAffinity
	if old.Affinity != nil {
		before = old.Affinity.NodeAffinity
	}
	if now.Affinity == nil {
		return
	}
	after := now.Affinity.NodeAffinity
	if before != nil && !narrower(after, before) {
		return // the difference is reported as any other
	}
	now.Affinity = now.Affinity.DeepCopy()
	now.Affinity.NodeAffinity = before
	if old.Affinity == nil && now.Affinity.PodAffinity == nil && now.Affinity.PodAntiAffinity == nil {
		now.Affinity = nil
	}
}

// narrower: every required term has kept its requirements, and may have more.
func narrower(now, old *corev1.NodeAffinity) bool {
	o := old.RequiredDuringSchedulingIgnoredDuringExecution
	if o == nil {
		return true
	}
	if now == nil || now.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	n := now.RequiredDuringSchedulingIgnoredDuringExecution
	if len(n.NodeSelectorTerms) != len(o.NodeSelectorTerms) {
		return false
	}
	for i := range o.NodeSelectorTerms {
		if !hasAll(n.NodeSelectorTerms[i].MatchExpressions, o.NodeSelectorTerms[i].MatchExpressions) ||
			!hasAll(n.NodeSelectorTerms[i].MatchFields, o.NodeSelectorTerms[i].MatchFields) {
			return false
		}
	}
	return true
}

func hasAll(have, want []corev1.NodeSelectorRequirement) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || apiequality.Semantic.DeepEqual(h, w)
		}
		if !found {
			return false
		}
	}
	return true
}

func validatePodStatusUpdate(p, old *corev1.Pod) fieldErrors {
	c := &check{}
	c.staysMirror(p, old)
	s := at("status")
	if n := p.Status.NominatedNodeName; n != old.Status.NominatedNodeName {
		c.nameIfSet(s.Child("nominatedNodeName"), n, subdomain)
	}
	if p.Status.ObservedGeneration < 0 {
		c.invalid(s.Child("observedGeneration"), p.Status.ObservedGeneration, "must be a non-negative integer")
	}
	for i, cond := range p.Status.Conditions {
		if !isSystemCondition(cond.Type) {
			c.invalid(s.Child("conditions").Index(i).Child("type"), string(cond.Type), validation.IsQualifiedName(string(cond.Type))...)
		}
	}
	for i, ip := range p.Status.PodIPs {
		c.ip(s.Child("podIPs").Index(i).Child("ip"), ip.IP)
	}
	for i, ip := range p.Status.HostIPs {
		c.ip(s.Child("hostIPs").Index(i).Child("ip"), ip.IP)
	}
	c.stayEnded(s.Child("containerStatuses"), p.Status.ContainerStatuses, old.Status.ContainerStatuses, p)
	return c.errs
}

func isSystemCondition(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		return true
	}
	return false
}

// stayEnded: a container that the restart policy leaves ended cannot run again.
func (c *check) stayEnded(at *field.Path, now, old []corev1.ContainerStatus, p *corev1.Pod) {
	for _, ct := range p.Spec.Containers {
		if ct.RestartPolicy != nil {
			return // the container's own rules decide
		}
	}
	if p.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return
	}
	for i := range old {
		ended := old[i].State.Terminated
		if ended == nil || ended.ExitCode != 0 && p.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
			continue
		}
		for _, n := range now {
			if n.Name == old[i].Name && n.State.Terminated == nil {
				c.forbidden(at.Index(i).Child("state"), "may not be transitioned to non-terminated state")
			}
		}
	}
}
