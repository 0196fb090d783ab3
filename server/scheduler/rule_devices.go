package scheduler

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// devices: what a pod claims has to be allocated. This scheduler allocates nothing itself yet, so a claim that nobody else has allocated, and
// reserved for the pod, keeps it waiting.
var devices = rule{
	name: "DynamicResources", wakes: nodeAdded | nodeLabels | claimChange,
	prepare: func(c *cycle) (bool, *rejection) {
		for i := range c.pod.Spec.ResourceClaims {
			ref := &c.pod.Spec.ResourceClaims[i]
			name, all := c.deviceClaim(ref)
			if all != nil {
				return true, all
			}
			if name == "" {
				continue // its template made none
			}
			claim := c.cluster.deviceClaims[c.pod.Namespace][name]
			if claim == nil {
				return true, no(true, fmt.Sprintf("resourceclaim %q not found", name))
			}
			c.addDevices(claim)
		}
		return len(c.pod.Spec.ResourceClaims) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for _, s := range c.devices {
			if ok, err := s.Match(n.Node); err != nil || !ok {
				return devicesElsewhere
			}
		}
		if c.unallocated {
			return cannotAllocate
		}
		return nil
	},
}

var (
	devicesElsewhere = no(true, "resourceclaim not available on the node")
	cannotAllocate   = no(true, "cannot allocate all claims")
)

// deviceClaim is the name of the claim that an entry of spec.resourceClaims stands for; "" for none.
func (c *cycle) deviceClaim(ref *corev1.PodResourceClaim) (string, *rejection) {
	if ref.ResourceClaimName != nil {
		return *ref.ResourceClaimName, nil
	}
	for _, s := range c.pod.Status.ResourceClaimStatuses {
		if s.Name == ref.Name && s.ResourceClaimName != nil {
			return *s.ResourceClaimName, nil
		} else if s.Name == ref.Name {
			return "", nil
		}
	}
	return "", no(true, fmt.Sprintf("pod %q: ResourceClaim not created yet", c.pod.key))
}

func (c *cycle) addDevices(claim *resourcev1.ResourceClaim) {
	a := claim.Status.Allocation
	reserved := false
	for _, r := range claim.Status.ReservedFor {
		reserved = reserved || r.UID == c.pod.UID
	}
	if a == nil || !reserved {
		c.unallocated = true
	}
	if a != nil && a.NodeSelector != nil {
		c.devices = append(c.devices, nodeaffinity.NewLazyErrorNodeSelector(a.NodeSelector))
	}
}
