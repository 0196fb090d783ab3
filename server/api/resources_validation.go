package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// What a resource may be called, where.
var (
	containerResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	objectCounts       = []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceQuotas,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
	quotaResources = slices.Concat(containerResources, objectCounts, []corev1.ResourceName{
		corev1.ResourceRequestsStorage, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	})
	standardResources = slices.Concat(quotaResources, []corev1.ResourceName{corev1.ResourceStorage})
)

// IsExtendedResource tells the names of devices and the like: with a domain which is not Kubernetes' own.
func IsExtendedResource(n corev1.ResourceName) bool {
	s := string(n)
	return strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}

// overcommittable resources may be limited higher than they are requested.
func overcommittable(n corev1.ResourceName) bool {
	native := !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
	return native && !isHugePages(n)
}

func (c *check) containerResourceName(at *field.Path, n corev1.ResourceName) {
	c.invalid(at, n, validation.IsQualifiedName(string(n))...)
	switch {
	case !strings.Contains(string(n), "/"):
		if !slices.Contains(containerResources, n) && !isHugePages(n) {
			c.invalid(at, n, "must be a standard resource for containers")
		}
	case !strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix) && !IsExtendedResource(n):
		c.invalid(at, n, "doesn't follow extended resource name standard")
	}
}

// resourceValue checks an amount of a resource; what is counted in pieces must be whole.
func (c *check) resourceValue(at *field.Path, n corev1.ResourceName, q resource.Quantity) {
	c.quantity(at, q)
	if (slices.Contains(objectCounts, n) || IsExtendedResource(n)) && q.MilliValue()%1000 != 0 {
		c.invalid(at, q.String(), "must be an integer")
	}
}

// requirements checks the requests and limits of a container, or of a pod (podLevel).
func (c *check) requirements(at *field.Path, r *corev1.ResourceRequirements, podLevel bool, podClaims map[string]bool) {
	var hugePages, cpuOrMemory bool
	one := func(at *field.Path, n corev1.ResourceName, q resource.Quantity) {
		if podLevel {
			if !resourcehelper.IsSupportedPodLevelResource(n) {
				c.add(field.NotSupported(at, n, sortedKeys(resourcehelper.SupportedPodLevelResources())))
			}
		} else {
			c.containerResourceName(at, n)
		}
		c.resourceValue(at, n, q)
		hugePages = hugePages || isHugePages(n)
		cpuOrMemory = cpuOrMemory || n == corev1.ResourceCPU || n == corev1.ResourceMemory
	}
	limits, requests := at.Child("limits"), at.Child("requests")
	for _, n := range sortedKeys(r.Limits) {
		one(limits.Key(string(n)), n, r.Limits[n])
	}
	for _, n := range sortedKeys(r.Requests) {
		q := r.Requests[n]
		one(requests.Key(string(n)), n, q)
		limit, limited := r.Limits[n]
		switch {
		case limited && q.Cmp(limit) != 0 && !overcommittable(n):
			c.invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String()))
		case limited && q.Cmp(limit) > 0:
			c.invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String()))
		case !limited && !overcommittable(n):
			c.required(limits, "Limit must be set for non overcommitable resources")
		}
	}
	if hugePages && !cpuOrMemory {
		c.forbidden(at, "HugePages require cpu or memory")
	}
	seen := once{}
	for i, claim := range r.Claims {
		path := at.Child("claims").Index(i)
		if podLevel {
			c.forbidden(at.Child("claims"), "claims may not be set for Resources at pod-level")
			break
		}
		if c.needs(path.Child("name"), claim.Name) {
			seen.add(c, path, claim.Name+"/"+claim.Request)
			if !podClaims[claim.Name] {
				c.add(field.NotFound(path.Child("name"), claim.Name))
			}
		}
	}
}

// podLevelResources checks spec.resources against the sums of the containers.
func (c *check) podLevelResources(path *field.Path, s *corev1.PodSpec) {
	if s.Resources == nil {
		return
	}
	c.requirements(path, s.Resources, true, nil)
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: s.Containers, InitContainers: s.InitContainers}}
	requests := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	for _, n := range sortedKeys(s.Resources.Requests) {
		if q, sum := s.Resources.Requests[n], requests[n]; sum.Cmp(q) > 0 {
			c.invalid(path.Child("requests").Key(string(n)), q.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String()))
		}
	}
	for i := range s.Containers {
		for _, n := range sortedKeys(s.Resources.Limits) {
			q, limit := s.Resources.Limits[n], s.Containers[i].Resources.Limits[n]
			if limit.Cmp(q) > 0 {
				c.invalid(at("spec", "containers").Index(i).Child("resources", "limits").Key(string(n)), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", q.String()))
			}
		}
	}
}
