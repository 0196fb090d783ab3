package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/registry"
)

const (
	// namespaceNodeSelector is an annotation of a namespace: the node labels, a=b,c=d, that its pods are held to.
	namespaceNodeSelector = "scheduler.alpha.kubernetes.io/node-selector"
	// clusterNodeSelector is the key for namespaces without one.
	clusterNodeSelector = "clusterDefaultNodeSelector"
)

// podNodeSelector holds the pods of a namespace to the nodes that are meant for it.
func podNodeSelector(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PodNodeSelector",
		Admit: onPods(func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			required, err := c.requiredNodeLabels(a, pod)
			if err != nil {
				return err
			}
			pod.Spec.NodeSelector = labels.Merge(required, pod.Spec.NodeSelector)
			return c.allowedNodeLabels(a, pod)
		}, registry.VerbCreate),
		Validate: onPods(func(_ context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			if _, err := c.requiredNodeLabels(a, pod); err != nil {
				return err
			}
			return c.allowedNodeLabels(a, pod)
		}, registry.VerbCreate),
	}
}

// requiredNodeLabels are those that every pod of the namespace has to ask for. A pod that asks for others is refused.
func (c *Config) requiredNodeLabels(a *registry.Attributes, pod *corev1.Pod) (labels.Set, error) {
	text := c.Settings.PodNodeSelector[clusterNodeSelector]
	if ns, ok := get[*corev1.Namespace](c, "", a.Namespace); ok {
		if own, ok := ns.Annotations[namespaceNodeSelector]; ok {
			text = own
		}
	}
	required, err := labels.ConvertSelectorToLabelsMap(text)
	if err != nil {
		return nil, forbidden(a, "node selector %q of namespace %s: %w", text, a.Namespace, err)
	}
	if labels.Conflicts(required, pod.Spec.NodeSelector) {
		return nil, forbidden(a, "pod node label selector conflicts with its namespace node label selector")
	}
	return required, nil
}

// allowedNodeLabels checks the list of what pods of a namespace may ask for; none means anything.
func (c *Config) allowedNodeLabels(a *registry.Attributes, pod *corev1.Pod) error {
	allowed, err := labels.ConvertSelectorToLabelsMap(c.Settings.PodNodeSelector[a.Namespace])
	if err != nil || len(allowed) == 0 {
		return err
	}
	for key, value := range pod.Spec.NodeSelector {
		if have, ok := allowed[key]; !ok || have != value {
			return forbidden(a, "pod node label selector labels conflict with its namespace whitelist")
		}
	}
	return nil
}
