package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// volumeZone: a volume that is labelled with zones or regions is used there. A node without any such label is in a cluster of one zone.
var volumeZone = rule{
	name: "VolumeZone", wakes: nodeAdded | nodeLabels | volumeChange,
	prepare: func(c *cycle) (bool, *rejection) {
		for i := range c.pod.Spec.Volumes {
			v := &c.pod.Spec.Volumes[i]
			claim := c.claimOf(v)
			if v.PersistentVolumeClaim == nil || claim == nil {
				continue
			}
			if volume := c.cluster.volumes[""][claim.Spec.VolumeName]; volume != nil {
				c.addZones(volume)
			}
		}
		return len(c.zones) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		if !slices.ContainsFunc(zoneLabels, func(l zoneLabel) bool { _, ok := n.Labels[l.name]; return ok }) {
			return nil
		}
		for _, z := range c.zones {
			value, ok := n.Labels[z.label.name]
			if !ok {
				value, ok = n.Labels[z.label.today]
			}
			if !ok || !slices.Contains(z.values, value) {
				return otherZone
			}
		}
		return nil
	},
}

var otherZone = no(true, "node(s) had no available volume zone")

// zoneLabel is a label of nodes and volumes, and the one by which it is called today.
type zoneLabel struct{ name, today string }

var zoneLabels = []zoneLabel{
	{corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyZone}, {corev1.LabelFailureDomainBetaRegion, corev1.LabelTopologyRegion},
	{corev1.LabelTopologyZone, corev1.LabelTopologyZone}, {corev1.LabelTopologyRegion, corev1.LabelTopologyRegion},
}

// zone is one label of a volume with the values that will do.
type zone struct {
	label  zoneLabel
	values []string
}

func (c *cycle) addZones(v *corev1.PersistentVolume) {
	for _, l := range zoneLabels {
		if value, ok := v.Labels[l.name]; ok {
			c.zones = append(c.zones, zone{l, strings.Split(value, "__")}) // as volumes of several zones are labelled
		}
	}
}
