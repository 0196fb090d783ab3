package scheduler

import "strings"

// A node that has the pod's images already starts it sooner. An image counts by its size and by how many nodes have it, so
// that one popular node does not draw all pods.

const (
	imageFloor   = 23 << 20   // less is pulled in no time
	imageCeiling = 1000 << 20 // a container
)

func prepareImages(c *cycle, _ []*nodeInfo) bool {
	if len(c.cluster.images) == 0 || len(c.cluster.nodes) < 2 {
		return false
	}
	spec := &c.pod.Spec
	c.images = c.images[:0]
	for i := range spec.InitContainers {
		c.images = append(c.images, fullImageName(spec.InitContainers[i].Image))
	}
	for i := range spec.Containers {
		c.images = append(c.images, fullImageName(spec.Containers[i].Image))
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			c.images = append(c.images, fullImageName(v.Reference))
		}
	}
	for _, image := range c.images {
		if c.cluster.images[image] > 0 {
			return true
		}
	}
	return false
}

func scoreImages(c *cycle, n *nodeInfo) int64 {
	var sum int64
	for _, image := range c.images {
		sum += n.images[image] * int64(c.cluster.images[image]) / int64(len(c.cluster.nodes))
	}
	ceiling := int64(imageCeiling) * int64(len(c.images))
	return maxScore * (min(max(sum, imageFloor), ceiling) - imageFloor) / (ceiling - imageFloor)
}

// fullImageName adds the tag that nodes report when a pod names none.
func fullImageName(image string) string {
	if strings.LastIndexByte(image, ':') <= strings.LastIndexByte(image, '/') {
		return image + ":latest"
	}
	return image
}
