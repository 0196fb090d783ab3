package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
)

// defaultPod fills in a pod. What is here and not in defaultPodSpec is left open in templates, on purpose: a template
// is stored as its author wrote it, so that it compares equal to the next version its author applies.
func defaultPod(p *corev1.Pod) {
	defaultPodSpec(&p.Spec)
	if t := p.Spec.TerminationGracePeriodSeconds; *t < 0 {
		one := int64(1)
		p.Spec.TerminationGracePeriodSeconds = &one
	}
	unset(&p.Spec.EnableServiceLinks, true)
	for _, cs := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range cs {
			requestLimits(&cs[i].Resources)
			if p.Spec.HostNetwork {
				for j := range cs[i].Ports {
					blank(&cs[i].Ports[j].HostPort, cs[i].Ports[j].ContainerPort)
				}
			}
		}
	}
	defaultPodStatus(&p.Status)
}

func defaultPodStatus(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	for _, cs := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range cs {
			roundUp(cs[i].AllocatedResources)
			if cs[i].Resources != nil {
				defaultResources(cs[i].Resources)
			}
		}
	}
}

// requestLimits requests what is limited.
func requestLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, q := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = q.DeepCopy()
		}
	}
}

// defaultPodLevelResources completes pod-level requests and limits (KEP-2837) from those of the containers.
func defaultPodLevelResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Requests) == 0 && len(r.Limits) == 0 {
		return
	}
	fill := func(to *corev1.ResourceList, from corev1.ResourceList, want func(corev1.ResourceName) bool) {
		for name, q := range from {
			if _, ok := (*to)[name]; ok || !resource.IsSupportedPodLevelResource(name) || !want(name) {
				continue
			}
			if *to == nil {
				*to = corev1.ResourceList{}
			}
			(*to)[name] = q.DeepCopy()
		}
	}
	any := func(corev1.ResourceName) bool { return true }
	fill(&r.Limits, resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}), func(n corev1.ResourceName) bool {
		_, requested := r.Requests[n]
		return isHugePages(n) && !requested
	})
	fill(&r.Requests, resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}), func(n corev1.ResourceName) bool {
		return !isHugePages(n)
	})
	fill(&r.Requests, r.Limits, any)
}

func isHugePages(n corev1.ResourceName) bool {
	return strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix)
}

func defaultPodTemplate(t *corev1.PodTemplateSpec) { defaultPodSpec(&t.Spec) }

func defaultPodSpec(s *corev1.PodSpec) {
	blank(&s.DNSPolicy, corev1.DNSClusterFirst)
	blank(&s.RestartPolicy, corev1.RestartPolicyAlways)
	blank(&s.SchedulerName, corev1.DefaultSchedulerName)
	unset(&s.SecurityContext, corev1.PodSecurityContext{})
	unset(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	blank(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	roundUp(s.Overhead)
	if s.Resources != nil {
		defaultResources(s.Resources)
	}
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func defaultContainer(c *corev1.Container) {
	blank(&c.ImagePullPolicy, pullPolicy(c.Image))
	blank(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	blank(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	defaultResources(&c.Resources)
	for i := range c.Ports {
		blank(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				unset(&from.FileKeyRef.Optional, false)
			}
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

// pullPolicy is Always for a reference that says latest, or says nothing.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	if image != "" && (tag == "latest" || !tagged && !digest) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	blank(&p.TimeoutSeconds, 1)
	blank(&p.PeriodSeconds, 10)
	blank(&p.SuccessThreshold, 1)
	blank(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		unset(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h != nil {
		blank(&h.Path, "/")
		blank(&h.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultFieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil {
		blank(&f.APIVersion, "v1")
	}
}

func defaultResources(r *corev1.ResourceRequirements) {
	roundUp(r.Limits)
	roundUp(r.Requests)
}

// roundUp: nothing finer than a thousandth is kept.
func roundUp(l corev1.ResourceList) {
	for name, q := range l {
		q.RoundUp(-3)
		l[name] = q
	}
}

// mergeMatchLabelKeys writes matchLabelKeys and mismatchLabelKeys into the selectors they stand for, with the values
// that this pod's labels have (KEP-3633, KEP-3243), so that the scheduler reads selectors only.
func mergeMatchLabelKeys(p *corev1.Pod) {
	merge := func(sel *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok && sel != nil {
				sel.MatchExpressions = append(sel.MatchExpressions,
					metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
	for _, t := range podAffinityTerms(p.Spec.Affinity) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
}

// podAffinityTerms returns all terms of pod affinity and anti-affinity.
func podAffinityTerms(a *corev1.Affinity) (terms []*corev1.PodAffinityTerm) {
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			terms = append(terms, &required[i])
		}
		for i := range preferred {
			terms = append(terms, &preferred[i].PodAffinityTerm)
		}
	}
	if a != nil && a.PodAffinity != nil {
		add(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a != nil && a.PodAntiAffinity != nil {
		add(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return terms
}
