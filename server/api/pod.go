package api

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func pod() *Kind {
	return &Kind{
		Kind: "Pod", Plural: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[corev1.Pod, corev1.PodList]("", "v1")},
		Prefix:   "/registry/pods",
		Strategy: Strategy{
			Default:                  do(defaultPod),
			PrepareCreate:            created(preparePod),
			PrepareUpdate:            updated(keepPodStatus, func(p *corev1.Pod) any { return p.Spec }),
			Validate:                 one(validatePod),
			ValidateUpdate:           pair(validatePodUpdate),
			Warnings:                 pair(podWarnings),
			AllowUnconditionalUpdate: true,
			GracePeriod: func(o Object, asked *int64) int64 {
				return podGracePeriod(o.(*corev1.Pod), asked)
			},
		},
		Subresources: podSubresources(),
		Columns:      podColumns(),
		Fields:       one(podFields),
		FieldNames: []string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
			"spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"},
		Indexes: []Index{{Name: "spec.nodeName", Values: one(func(p *corev1.Pod) []string {
			if p.Spec.NodeName == "" {
				return nil
			}
			return []string{p.Spec.NodeName}
		})}},
	}
}

func podSubresources() []Subresource {
	return []Subresource{
		podStatus(),
		{Name: "binding", Verbs: []string{"create"}, GVK: core("Binding"), New: func() runtime.Object { return &corev1.Binding{} }},
		{Name: "eviction", Verbs: []string{"create"}, GVK: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"},
			New: func() runtime.Object { return &policyv1.Eviction{} }},
		{Name: "ephemeralcontainers", Verbs: readWrite, Inject: inject(func(to, sent *corev1.Pod) {
			defaultPodSpec(&sent.Spec)
			changed := !apiequality.Semantic.DeepEqual(to.Spec.EphemeralContainers, sent.Spec.EphemeralContainers)
			to.Spec.EphemeralContainers = sent.Spec.EphemeralContainers
			bump(to, to, changed)
		}), Validate: pair(validatePodEphemeralContainersUpdate)},
		{Name: "resize", Verbs: readWrite, Inject: inject(resizePod), Validate: pair(validatePodResize)},
		connect("log", core("Pod"), nil, "get"),
		connect("exec", core("PodExecOptions"), func() runtime.Object { return &corev1.PodExecOptions{} }, "create", "get"),
		connect("attach", core("PodAttachOptions"), func() runtime.Object { return &corev1.PodAttachOptions{} }, "create", "get"),
		connect("portforward", core("PodPortForwardOptions"), func() runtime.Object { return &corev1.PodPortForwardOptions{} }, "create", "get"),
		connect("proxy", core("PodProxyOptions"), func() runtime.Object { return &corev1.PodProxyOptions{} }, proxyVerbs...),
	}
}

var proxyVerbs = []string{"create", "delete", "get", "patch", "update"}

// preparePod makes the status of a new pod.
func preparePod(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, ObservedGeneration: p.Generation,
			Reason: corev1.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	mergeMatchLabelKeys(p)
	defaultPodLevelResources(p)
	p.Status.QOSClass = PodQOS(p)
}

func keepPodStatus(p, old *corev1.Pod) {
	p.Status = old.Status
	if p.Spec.Resources == nil {
		p.Spec.Resources = old.Spec.Resources
	}
}

// podStatus is status without the owners: a node, which writes it, must not give its pods to others or take them away.
func podStatus() Subresource {
	s := status(setPodStatus, validatePodStatusUpdate)
	all := s.Inject
	s.Inject = func(stored Object, sent runtime.Object) (Object, error) {
		obj, err := all(stored, sent)
		if err == nil {
			obj.SetOwnerReferences(stored.GetOwnerReferences())
		}
		return obj, err
	}
	return s
}

// setPodStatus is what a status update does: it does not forget what was derived at creation.
func setPodStatus(to, sent *corev1.Pod) {
	old := to.Status
	to.Status = sent.Status
	defaultPodStatus(&to.Status)
	blank(&to.Status.QOSClass, old.QOSClass)
	blank(&to.Status.ObservedGeneration, old.ObservedGeneration)
	if to.Status.ResourceClaimStatuses == nil {
		to.Status.ResourceClaimStatuses = old.ResourceClaimStatuses
	}
	if to.Status.ExtendedResourceClaimStatus == nil {
		to.Status.ExtendedResourceClaimStatus = old.ExtendedResourceClaimStatus
	}
	for i := range to.Status.Conditions {
		c := &to.Status.Conditions[i]
		for _, o := range old.Conditions {
			if o.Type == c.Type {
				blank(&c.ObservedGeneration, o.ObservedGeneration)
			}
		}
	}
}

// resizePod takes from sent what an in-place resize may change: resources and resize policies.
func resizePod(to, sent *corev1.Pod) {
	before := to.Spec.DeepCopy()
	defaultPodSpec(&sent.Spec)
	take := func(to, sent []corev1.Container) {
		for i := range to {
			for j := range sent {
				if to[i].Name == sent[j].Name {
					to[i].Resources, to[i].ResizePolicy = sent[j].Resources, sent[j].ResizePolicy
				}
			}
		}
	}
	take(to.Spec.Containers, sent.Spec.Containers)
	take(to.Spec.InitContainers, sent.Spec.InitContainers)
	if sent.Spec.Resources != nil {
		to.Spec.Resources = sent.Spec.Resources
	}
	bump(to, to, !apiequality.Semantic.DeepEqual(before, &to.Spec))
}

// podGracePeriod: a pod that never reached a node, or has ended, goes at once.
func podGracePeriod(p *corev1.Pod, asked *int64) int64 {
	period := deref(p.Spec.TerminationGracePeriodSeconds)
	if asked != nil {
		period = *asked
	}
	switch {
	case p.Spec.NodeName == "", p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
		return 0
	case period < 0:
		return 1
	}
	return period
}

func podFields(p *corev1.Pod) fields.Set {
	ips := make([]string, 0, len(p.Status.PodIPs))
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             first(ips),
		"status.podIPs":            first(ips),
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
