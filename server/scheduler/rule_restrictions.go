package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/podrefs"
)

// restrictions: a claim of one pod is for one pod, and a disk that two pods must not write is not given to two of a node.
var restrictions = rule{
	name: "VolumeRestrictions", wakes: nodeAdded | podGone | volumeChange,
	prepare: func(c *cycle) (bool, *rejection) {
		disks := false
		for i := range c.pod.Spec.Volumes {
			v := &c.pod.Spec.Volumes[i]
			disks = disks || v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.ISCSI != nil || v.RBD != nil
			if claim := c.claimOf(v); v.PersistentVolumeClaim != nil && claim != nil && slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
				c.taken = c.taken || c.cluster.uses(c.pod, claim.Name)
			}
		}
		return disks || c.taken, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for i := range c.pod.Spec.Volumes {
			for _, p := range n.pods {
				if slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return sameDisk(&c.pod.Spec.Volumes[i], &v) }) {
					return diskTaken
				}
			}
		}
		if c.taken {
			return claimTaken
		}
		return nil
	},
}

var (
	diskTaken  = no(false, "node(s) had no available disk")
	claimTaken = no(false, "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
)

// uses says whether another pod on any node uses the claim.
func (cl *cluster) uses(pod *podInfo, claim string) bool {
	for _, n := range cl.nodes {
		for _, p := range n.pods {
			if p.Namespace != pod.Namespace || p.key == pod.key {
				continue
			}
			for i := range p.Spec.Volumes {
				if podrefs.ClaimName(p.Pod, &p.Spec.Volumes[i]) == claim {
					return true
				}
			}
		}
	}
	return false
}

// sameDisk: of those that only one may write, unless all read.
func sameDisk(a, b *corev1.Volume) bool {
	switch {
	case a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil:
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && !(x.ReadOnly && y.ReadOnly)
	case a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil:
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	case a.ISCSI != nil && b.ISCSI != nil:
		return a.ISCSI.IQN == b.ISCSI.IQN && !(a.ISCSI.ReadOnly && b.ISCSI.ReadOnly)
	case a.RBD != nil && b.RBD != nil:
		x, y := a.RBD, b.RBD
		shared := slices.ContainsFunc(x.CephMonitors, func(m string) bool { return slices.Contains(y.CephMonitors, m) })
		return shared && x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && !(x.ReadOnly && y.ReadOnly)
	}
	return false
}
