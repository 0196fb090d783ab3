package api

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func csiNode() *Kind {
	type node = *storagev1.CSINode
	return &Kind{
		Group: "storage.k8s.io", Kind: "CSINode", Plural: "csinodes", Singular: "csinode",
		Versions: []Version{typed[storagev1.CSINode, storagev1.CSINodeList]("storage.k8s.io", "v1")},
		Prefix:   "/registry/csinodes",
		Strategy: Strategy{
			PrepareCreate:  do(func(n node) { n.Status = storagev1.CSINodeStatus{} }),
			PrepareUpdate:  doPair(func(n, old node) { n.Status = old.Status }),
			Validate:       one(validateCSINode),
			ValidateUpdate: pair(validateCSINodeUpdate),
		},
		// The health of volumes, all that the status holds, is an alpha feature: what is sent is dropped.
		Subresources: []Subresource{statusAlone(func(to, from node) {}, nil)},
		Columns: []Column{
			num("Drivers", "number of drivers on the node", func(n node) int { return len(n.Spec.Drivers) }),
			age(),
		},
	}
}

const maxCSINodeID = 256

func validateCSINode(n *storagev1.CSINode) fieldErrors {
	c := &check{}
	names := once{}
	for i, d := range n.Spec.Drivers {
		path := at("spec", "drivers").Index(i)
		c.driverName(path.Child("name"), d.Name)
		if c.needs(path.Child("nodeID"), d.NodeID) && len(d.NodeID) > maxCSINodeID {
			c.invalid(path.Child("nodeID"), d.NodeID, validation.MaxLenError(maxCSINodeID))
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			c.nonNegative(path.Child("allocatable", "count"), int64(*d.Allocatable.Count))
		}
		names.add(c, path.Child("name"), d.Name)
		c.topologyKeys(path, d.TopologyKeys)
	}
	return c.errs
}

func (c *check) topologyKeys(at *field.Path, keys []string) {
	seen := once{}
	for _, k := range keys {
		c.needs(at, k)
		seen.add(c, at, k)
		c.invalid(at, k, validation.IsQualifiedName(k)...)
	}
}

// validateCSINodeUpdate: drivers come and go; of one that stays only what the node can hold may change.
func validateCSINodeUpdate(n, old *storagev1.CSINode) fieldErrors {
	c := &check{errs: validateCSINode(n)}
	for _, was := range old.Spec.Drivers {
		for _, is := range n.Spec.Drivers {
			if was.Name != is.Name {
				continue
			}
			was.Allocatable, is.Allocatable = nil, nil
			c.add(apivalidation.ValidateImmutableField(is, was, at("spec", "drivers"))...)
		}
	}
	return c.errs
}
