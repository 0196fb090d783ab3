package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// systemPriorities are the classes that exist before anybody has created them.
var systemPriorities = map[string]int32{
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

// priority resolves the priority class of a new pod to a number, and keeps a second default class out.
func priority(c *Config) registry.Plugin {
	return registry.Plugin{
		Name: "Priority",
		Admit: onPods(func(_ context.Context, a *registry.Attributes, pod, old *corev1.Pod) error {
			if old != nil {
				keepPriority(pod, old)
				return nil
			}
			return c.resolvePriority(a, pod)
		}, registry.VerbCreate, registry.VerbUpdate),
		Validate: func(_ context.Context, a *registry.Attributes) error {
			class, ok := a.Object.(*schedulingv1.PriorityClass)
			if !ok || !class.GlobalDefault || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
				return nil
			}
			if other := c.defaultPriority(); other != nil && other.Name != class.Name {
				return forbidden(a, "PriorityClass %v is already marked as default. Only one default can exist", other.Name)
			}
			return nil
		},
	}
}

func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

func (c *Config) resolvePriority(a *registry.Attributes, pod *corev1.Pod) error {
	value, policy := int32(0), corev1.PreemptLowerPriority
	var class *schedulingv1.PriorityClass
	if name := pod.Spec.PriorityClassName; name == "" {
		class = c.defaultPriority()
	} else if found, ok := get[*schedulingv1.PriorityClass](c, "", name); ok {
		class = found
	} else if value, ok = systemPriorities[name]; !ok {
		return forbidden(a, "no PriorityClass with name %v was found", name)
	}
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return forbidden(a, "the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *p, value)
	}
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != policy {
		return forbidden(a, "the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *p, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// defaultPriority is the class for pods that name none: of several (a race can make them) the lowest.
func (c *Config) defaultPriority() *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for _, class := range list[*schedulingv1.PriorityClass](c, c.Store.Snapshot(), "") {
		if class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found
}
