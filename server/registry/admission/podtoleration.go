package admission

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// Annotations of a namespace, each a JSON list of tolerations: what its pods get, and what they may have.
const (
	defaultTolerations   = "scheduler.alpha.kubernetes.io/defaultTolerations"
	tolerationsWhitelist = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// podTolerationRestriction gives the pods of a namespace its tolerations and refuses those that it may not have.
func podTolerationRestriction(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PodTolerationRestriction",
		Admit: onPods(func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			var more []corev1.Toleration
			if a.Verb == registry.VerbCreate {
				own, ok, err := c.namespaceTolerations(a, defaultTolerations)
				if err != nil {
					return err
				}
				if more = own; !ok {
					more = c.Settings.PodTolerations.Default
				}
			}
			if api.PodQOS(pod) != corev1.PodQOSBestEffort {
				more = append(more[:len(more):len(more)],
					corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
			}
			if len(more) > 0 {
				pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, more)
			}
			return c.allowedTolerations(a, pod)
		}, registry.VerbCreate, registry.VerbUpdate),
		Validate: onPods(func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			return c.allowedTolerations(a, pod)
		}, registry.VerbCreate, registry.VerbUpdate),
	}
}

func (c *Config) allowedTolerations(a *registry.Attributes, pod *corev1.Pod) error {
	if len(pod.Spec.Tolerations) == 0 {
		return nil
	}
	allowed, ok, err := c.namespaceTolerations(a, tolerationsWhitelist)
	if err != nil {
		return err
	}
	scope := "namespace"
	if !ok {
		allowed, scope = c.Settings.PodTolerations.Whitelist, "cluster"
	}
	if len(allowed) == 0 {
		return nil
	}
	for i := range pod.Spec.Tolerations {
		if !coveredBy(allowed, &pod.Spec.Tolerations[i]) {
			return forbidden(a, "pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", scope)
		}
	}
	return nil
}

// namespaceTolerations reads an annotation; ok is false if the namespace has none. "" is an empty list.
func (c *Config) namespaceTolerations(a *registry.Attributes, key string) (list []corev1.Toleration, ok bool, err error) {
	ns, found := get[*corev1.Namespace](c, "", a.Namespace)
	if !found {
		return nil, false, nil
	}
	text, ok := ns.Annotations[key]
	if !ok || text == "" {
		return nil, ok, nil
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, false, forbidden(a, "annotation %s of namespace %s: %w", key, a.Namespace, err)
	}
	return list, true, nil
}

// mergeTolerations leaves out what another one of the two lists covers.
func mergeTolerations(first, second []corev1.Toleration) (out []corev1.Toleration) {
	all := append(first[:len(first):len(first)], second...)
	for i := range all {
		if coveredBy(out, &all[i]) {
			continue
		}
		rest := all[i+1:]
		covered := false
		for j := range rest {
			// Of two that are equal the first stays.
			covered = covered || !apiequality.Semantic.DeepEqual(all[i], rest[j]) && covers(&rest[j], &all[i])
		}
		if !covered {
			out = append(out, all[i])
		}
	}
	return out
}

func coveredBy(list []corev1.Toleration, t *corev1.Toleration) bool {
	for i := range list {
		if covers(&list[i], t) {
			return true
		}
	}
	return false
}

// covers says whether wide tolerates whatever narrow does.
func covers(wide, narrow *corev1.Toleration) bool {
	if apiequality.Semantic.DeepEqual(wide, narrow) {
		return true
	}
	if narrow.Key != wide.Key && (wide.Key != "" || wide.Operator != corev1.TolerationOpExists) {
		return false
	}
	if narrow.Effect != wide.Effect && wide.Effect != "" {
		return false
	}
	if wide.Effect == corev1.TaintEffectNoExecute && wide.TolerationSeconds != nil &&
		(narrow.TolerationSeconds == nil || *narrow.TolerationSeconds > *wide.TolerationSeconds) {
		return false
	}
	switch wide.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return (narrow.Operator == corev1.TolerationOpEqual || narrow.Operator == "") && narrow.Value == wide.Value
	}
	return false // comparisons cover only what is the same
}
