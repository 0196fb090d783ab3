package scheduler

import (
	"codeberg.org/skiff/skiff/internal/features"
)

// declaredFeatures: some pods need what only nodes have that declare it.
var declaredFeatures = rule{
	name: "NodeDeclaredFeatures", wakes: nodeAdded | nodeFeatures,
	prepare: func(c *cycle) (bool, *rejection) {
		c.features = features.Needed(&c.pod.Spec)
		return len(c.features) > 0, nil
	},
	filter: func(c *cycle, n *nodeInfo) *rejection {
		if len(features.Missing(c.features, n.Status.DeclaredFeatures)) > 0 {
			return featureless
		}
		return nil
	},
}

var featureless = no(true, "node(s) didn't match Pod's required features")
