package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"codeberg.org/skiff/skiff/internal/podrefs"
)

// volumeLimits: a CSI driver attaches so many volumes to a node, as its CSINode tells; and some drivers ask that pods go only where they run.
var volumeLimits = rule{
	name: "NodeVolumeLimits", wakes: nodeAdded | podGone | volumeChange,
	prepare: func(c *cycle) (bool, *rejection) {
		if len(c.cluster.csiNodes)+len(c.cluster.csiDrivers) == 0 {
			return false, nil
		}
		c.attach = map[csiVolume]bool{}
		c.cluster.addCSI(c.pod.Pod, c.attach)
		for v := range c.attach {
			if c.cluster.wantsDriver(v.driver) && !slices.Contains(c.drivers, v.driver) {
				c.drivers = append(c.drivers, v.driver)
			}
		}
		slices.Sort(c.drivers)
		return len(c.attach) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		node := c.cluster.csiNodes[""][n.name]
		for _, name := range c.drivers {
			if node == nil || !slices.ContainsFunc(node.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == name }) {
				return no(false, name+" CSI driver is not installed on the node")
			}
		}
		if node == nil {
			return nil
		}
		attached := map[csiVolume]bool{}
		for _, p := range n.pods {
			c.cluster.addCSI(p.Pod, attached)
		}
		c.cluster.addAttachments(n.name, attached)
		for _, d := range node.Spec.Drivers {
			if d.Allocatable == nil || d.Allocatable.Count == nil {
				continue
			}
			have, more := int32(0), int32(0)
			for v := range attached {
				if v.driver == d.Name {
					have++
				}
			}
			for v := range c.attach {
				if v.driver == d.Name && !attached[v] {
					more++
				}
			}
			if more > 0 && have+more > *d.Allocatable.Count {
				return tooManyVolumes
			}
		}
		return nil
	},
}

var tooManyVolumes = no(false, "node(s) exceed max volume count")

// wantsDriver says whether pods with volumes of the driver go only to nodes that have it.
func (cl *cluster) wantsDriver(name string) bool {
	d := cl.csiDrivers[""][name]
	return d != nil && d.Spec.PreventPodSchedulingIfMissing != nil && *d.Spec.PreventPodSchedulingIfMissing
}

// csiVolume is counted once, however many pods of a node use it.
type csiVolume struct{ driver, handle string }

// addCSI notes the CSI volumes behind a pod's claims. A claim that has no volume yet counts as one of its class' driver.
func (cl *cluster) addCSI(pod *corev1.Pod, to map[csiVolume]bool) {
	for i := range pod.Spec.Volumes {
		name := podrefs.ClaimName(pod, &pod.Spec.Volumes[i])
		claim := cl.claims[pod.Namespace][name]
		if name == "" || claim == nil {
			continue
		}
		if claim.Spec.VolumeName == "" {
			if class := claim.Spec.StorageClassName; class != nil && cl.classes[""][*class] != nil {
				to[csiVolume{cl.classes[""][*class].Provisioner, "claim " + pod.Namespace + "/" + name}] = true
			}
			continue
		}
		if v := cl.volumes[""][claim.Spec.VolumeName]; v != nil && v.Spec.CSI != nil {
			to[csiVolume{v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle}] = true
		}
	}
}

// addAttachments notes what is attached to a node although no pod there uses it any more.
func (cl *cluster) addAttachments(node string, to map[csiVolume]bool) {
	for _, a := range cl.attachments[""] {
		if a.Spec.NodeName != node || a.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		if v := cl.volumes[""][*a.Spec.Source.PersistentVolumeName]; v != nil && v.Spec.CSI != nil {
			to[csiVolume{a.Spec.Attacher, v.Spec.CSI.VolumeHandle}] = true
		}
	}
}
