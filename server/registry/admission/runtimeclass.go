package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/registry"
)

// runtimeClass adds to a pod what its runtime class says: overhead, and the nodes that have the runtime.
func runtimeClass(c *Config) registry.Plugin {
	return registry.Plugin{Name: "RuntimeClass", Admit: onPods(
		func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			if pod.Spec.RuntimeClassName == nil {
				if len(pod.Spec.Overhead) > 0 {
					return forbidden(a, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
				}
				return nil
			}
			class, ok := get[*nodev1.RuntimeClass](c, "", *pod.Spec.RuntimeClassName)
			if !ok {
				return forbidden(a, "pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
			}
			if err := setOverhead(a, pod, class); err != nil {
				return err
			}
			return setScheduling(a, pod, class)
		}, registry.VerbCreate)}
}

func setOverhead(a *registry.Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class.Overhead == nil {
		if len(pod.Spec.Overhead) > 0 {
			return forbidden(a, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
		return nil
	}
	if len(pod.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
		return forbidden(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	}
	pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	return nil
}

func setScheduling(a *registry.Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class.Scheduling == nil {
		return nil
	}
	selector := make(map[string]string, len(pod.Spec.NodeSelector)+len(class.Scheduling.NodeSelector))
	for key, v := range pod.Spec.NodeSelector {
		selector[key] = v
	}
	for key, v := range class.Scheduling.NodeSelector {
		if have, ok := selector[key]; ok && have != v {
			return forbidden(a, "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, v, key, have)
		}
		selector[key] = v
	}
	pod.Spec.NodeSelector = selector
	for _, t := range class.Scheduling.Tolerations {
		if !hasToleration(pod.Spec.Tolerations, t) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
		}
	}
	return nil
}

func hasToleration(list []corev1.Toleration, t corev1.Toleration) bool {
	for i := range list {
		if apiequality.Semantic.DeepEqual(list[i], t) {
			return true
		}
	}
	return false
}
