package api

import (
	nodev1 "k8s.io/api/node/v1"
)

func runtimeClass() *Kind {
	return &Kind{
		Group: "node.k8s.io", Kind: "RuntimeClass", Plural: "runtimeclasses", Singular: "runtimeclass",
		Versions: []Version{typed[nodev1.RuntimeClass, nodev1.RuntimeClassList]("node.k8s.io", "v1")},
		Prefix:   "/registry/runtimeclasses",
		Strategy: Strategy{
			Default: do(func(c *nodev1.RuntimeClass) {
				if c.Overhead != nil {
					roundUp(c.Overhead.PodFixed)
				}
			}),
			Validate:            one(validateRuntimeClass),
			ValidateUpdate:      pair(validateRuntimeClassUpdate),
			AllowCreateOnUpdate: true,
		},
		Columns: []Column{
			str("Handler", "how the node runs its pods", func(c *nodev1.RuntimeClass) string { return c.Handler }),
			age(),
		},
	}
}
