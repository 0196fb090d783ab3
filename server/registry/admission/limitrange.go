package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/server/registry"
)

// annotationLimitRanger tells what was filled in.
const annotationLimitRanger = "kubernetes.io/limit-ranger"

// limitRanger fills in requests and limits from the namespace's LimitRanges, and holds pods and claims to them.
func limitRanger(c *Config) registry.Plugin {
	return registry.Plugin{
		Name: "LimitRanger",
		Admit: func(_ context.Context, a *registry.Attributes) error {
			pod, ok := a.Object.(*corev1.Pod)
			if !ok || !sized(a) {
				return nil
			}
			for _, l := range list[*corev1.LimitRange](c, c.Store.Snapshot(), a.Namespace) {
				fillIn(pod, l)
			}
			return nil
		},
		Validate: func(_ context.Context, a *registry.Attributes) error {
			check := limitCheck(a)
			if check == nil {
				return nil
			}
			for _, l := range list[*corev1.LimitRange](c, c.Store.Snapshot(), a.Namespace) {
				var errs []error
				for i := range l.Spec.Limits {
					errs = append(errs, check(&l.Spec.Limits[i])...)
				}
				if err := utilerrors.NewAggregate(errs); err != nil {
					return forbidden(a, "%w", err)
				}
			}
			return nil
		},
	}
}

// sized says whether a request sets a pod's resources: it is made, or resized.
func sized(a *registry.Attributes) bool {
	return a.Subresource == "" && a.Verb == registry.VerbCreate || a.Subresource == "resize" && a.Verb == registry.VerbUpdate
}

// limitCheck returns what checks the admitted object against one limit; nil if nothing does.
func limitCheck(a *registry.Attributes) func(*corev1.LimitRangeItem) []error {
	switch obj := a.Object.(type) {
	case *corev1.Pod:
		if sized(a) {
			return func(l *corev1.LimitRangeItem) []error { return checkPod(pod{obj}, l) }
		}
	case *corev1.PersistentVolumeClaim:
		if a.Subresource == "" && (a.Verb == registry.VerbCreate || a.Verb == registry.VerbUpdate) {
			return func(l *corev1.LimitRangeItem) []error { return checkClaim(obj, l) }
		}
	}
	return nil
}

// fillIn gives containers the default requests and limits they lack, and says so in an annotation.
func fillIn(pod *corev1.Pod, l *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range l.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			addMissing(requests, item.DefaultRequest)
			addMissing(limits, item.Default)
		}
	}
	if len(requests)+len(limits) == 0 {
		return
	}
	var notes []string
	for kind, containers := range map[string][]corev1.Container{"container": pod.Spec.Containers, "init container": pod.Spec.InitContainers} {
		for i := range containers {
			notes = append(notes, fillContainer(kind, &containers[i], requests, limits)...)
		}
	}
	if len(notes) == 0 {
		return
	}
	slices.Sort(notes)
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationLimitRanger] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

func fillContainer(kind string, c *corev1.Container, requests, limits corev1.ResourceList) (notes []string) {
	note := func(what string, set []string) {
		if len(set) > 0 {
			slices.Sort(set)
			notes = append(notes, strings.Join(set, ", ")+" "+what+" for "+kind+" "+c.Name)
		}
	}
	if c.Resources.Requests == nil {
		c.Resources.Requests = corev1.ResourceList{}
	}
	if c.Resources.Limits == nil {
		c.Resources.Limits = corev1.ResourceList{}
	}
	note("request", addMissing(c.Resources.Requests, requests))
	note("limit", addMissing(c.Resources.Limits, limits))
	return notes
}

// addMissing copies what to has not, and returns its names.
func addMissing(to, from corev1.ResourceList) (added []string) {
	for name, q := range from {
		if _, have := to[name]; !have {
			to[name] = q.DeepCopy()
			added = append(added, string(name))
		}
	}
	return added
}

// pod is a Pod whose resources can be added up.
type pod struct{ *corev1.Pod }

func checkPod(p pod, l *corev1.LimitRangeItem) (errs []error) {
	switch l.Type {
	case corev1.LimitTypeContainer:
		for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for _, c := range containers {
				errs = append(errs, checkUsage(l, c.Resources.Requests, c.Resources.Limits)...)
			}
		}
	case corev1.LimitTypePod:
		errs = checkUsage(l, resourcehelper.PodRequests(p.Pod, resourcehelper.PodResourcesOptions{}),
			resourcehelper.PodLimits(p.Pod, resourcehelper.PodResourcesOptions{}))
	}
	return errs
}

func checkClaim(claim *corev1.PersistentVolumeClaim, l *corev1.LimitRangeItem) []error {
	if l.Type != corev1.LimitTypePersistentVolumeClaim {
		return nil
	}
	return checkUsage(l, claim.Spec.Resources.Requests, claim.Spec.Resources.Limits)
}

// checkUsage holds one set of requests and limits to one limit.
func checkUsage(l *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for name, least := range l.Min {
		req, hasReq := requests[name]
		lim, hasLim := limits[name]
		switch {
		case !hasReq:
			add("minimum %s usage per %s is %s.  No request is specified", name, l.Type, least.String())
		case req.Cmp(least) < 0:
			add("minimum %s usage per %s is %s, but request is %s", name, l.Type, least.String(), req.String())
		case hasLim && lim.Cmp(least) < 0:
			add("minimum %s usage per %s is %s, but limit is %s", name, l.Type, least.String(), lim.String())
		}
	}
	for name, most := range l.Max {
		req, hasReq := requests[name]
		lim, hasLim := limits[name]
		claim := l.Type == corev1.LimitTypePersistentVolumeClaim
		switch {
		case claim && !hasReq:
			add("maximum %s usage per %s is %s.  No request is specified", name, l.Type, most.String())
		case !claim && !hasLim:
			add("maximum %s usage per %s is %s.  No limit is specified", name, l.Type, most.String())
		case hasLim && lim.Cmp(most) > 0:
			add("maximum %s usage per %s is %s, but limit is %s", name, l.Type, most.String(), lim.String())
		case hasReq && req.Cmp(most) > 0:
			add("maximum %s usage per %s is %s, but request is %s", name, l.Type, most.String(), req.String())
		}
	}
	for name, ratio := range l.MaxLimitRequestRatio {
		errs = append(errs, checkRatio(l, name, ratio, requests, limits)...)
	}
	return errs
}

func checkRatio(l *corev1.LimitRangeItem, name corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) []error {
	req, lim := requests[name], limits[name]
	if req.IsZero() {
		return []error{fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, l.Type, most.String())}
	}
	if lim.IsZero() {
		return []error{fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, l.Type, most.String())}
	}
	if have := lim.AsApproximateFloat64() / req.AsApproximateFloat64(); have > most.AsApproximateFloat64() {
		return []error{fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, l.Type, most.String(), have)}
	}
	return nil
}
