package scheduler

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"codeberg.org/skiff/skiff/internal/podrefs"
)

// volumes: claims have to exist and be bound, and their volumes to be reachable from the node.
var volumes = rule{
	name: "VolumeBinding", wakes: nodeAdded | nodeLabels | volumeChange,
	prepare: func(c *cycle) (bool, *rejection) {
		for i := range c.pod.Spec.Volumes {
			name := podrefs.ClaimName(c.pod.Pod, &c.pod.Spec.Volumes[i])
			if name == "" {
				continue
			}
			if all := c.addClaim(name); all != nil {
				return true, all
			}
		}
		return len(c.volumes) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for _, v := range c.volumes {
			if ok, err := v.Match(n.Node); err != nil || !ok {
				return volumeElsewhere
			}
		}
		return nil
	},
}

var volumeElsewhere = no(true, "node(s) didn't match PersistentVolume's node affinity")

// claimOf is the claim behind a volume of the pod; nil if there is none, or not yet.
func (c *cycle) claimOf(v *corev1.Volume) *corev1.PersistentVolumeClaim {
	return c.cluster.claims[c.pod.Namespace][podrefs.ClaimName(c.pod.Pod, v)]
}

// addClaim notes on which nodes the volume of a claim can be used.
func (c *cycle) addClaim(name string) *rejection {
	claim := c.cluster.claims[c.pod.Namespace][name]
	switch {
	case claim == nil:
		return no(true, fmt.Sprintf("persistentvolumeclaim %q not found", name))
	case claim.DeletionTimestamp != nil:
		return no(true, fmt.Sprintf("persistentvolumeclaim %q is being deleted", name))
	case claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound:
		return no(true, "pod has unbound immediate PersistentVolumeClaims")
	}
	volume := c.cluster.volumes[""][claim.Spec.VolumeName]
	if volume == nil {
		return no(true, fmt.Sprintf("persistentvolume %q not found", claim.Spec.VolumeName))
	}
	if a := volume.Spec.NodeAffinity; a != nil && a.Required != nil {
		c.volumes = append(c.volumes, nodeaffinity.NewLazyErrorNodeSelector(a.Required))
	}
	return nil
}
