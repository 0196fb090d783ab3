package api

import (
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/validation"
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
			Warnings:            pair(runtimeClassWarnings),
			AllowCreateOnUpdate: true,
		},
		Columns: []Column{
			str("Handler", "how the node runs its pods", func(c *nodev1.RuntimeClass) string { return c.Handler }),
			age(),
		},
	}
}

func validateRuntimeClass(r *nodev1.RuntimeClass) fieldErrors {
	c := &check{}
	c.invalid(at("handler"), r.Handler, validation.IsDNS1123Label(r.Handler)...)
	if r.Overhead != nil {
		for _, n := range sortedKeys(r.Overhead.PodFixed) {
			path := at("overhead", "podFixed").Key(string(n))
			c.containerResourceName(path, n)
			c.resourceValue(path, n, r.Overhead.PodFixed[n])
		}
	}
	if r.Scheduling != nil {
		c.labels(at("scheduling", "nodeSelector"), r.Scheduling.NodeSelector)
		c.tolerations(at("scheduling", "tolerations"), r.Scheduling.Tolerations)
	}
	return c.errs
}

func validateRuntimeClassUpdate(r, old *nodev1.RuntimeClass) fieldErrors {
	c := &check{errs: validateRuntimeClass(r)}
	c.immutable(at("handler"), r.Handler, old.Handler)
	return c.errs
}
