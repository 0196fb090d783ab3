package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

// topologyLabels are those of a node that its pods get too, so that a program in a pod can know where it runs through the
// downward API.
var topologyLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// podTopology writes the zone and region of the node into a Binding, whose labels become the pod's, and into pods that
// are made for a node.
func podTopology(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PodTopologyLabels", Admit: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate {
			return nil
		}
		switch o := a.Object.(type) {
		case *corev1.Binding:
			if o.Target.Kind == "Node" || o.Target.Kind == "" {
				o.Labels = c.withTopology(o.Labels, o.Target.Name)
			}
		case *corev1.Pod:
			if a.Subresource == "" && o.Spec.NodeName != "" {
				o.Labels = c.withTopology(o.Labels, o.Spec.NodeName)
			}
		}
		return nil
	}}
}

// withTopology is labels with those of a node, which win. A node that is not there has none.
func (c *Config) withTopology(labels map[string]string, name string) map[string]string {
	node, ok := get[*corev1.Node](c, "", name)
	if !ok {
		return labels
	}
	for _, key := range topologyLabels {
		value, ok := node.Labels[key]
		if !ok {
			continue
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[key] = value
	}
	return labels
}
