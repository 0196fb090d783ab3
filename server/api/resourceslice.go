package api

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func resourceSlice() *Kind {
	type slice = *resourcev1.ResourceSlice
	return &Kind{
		Group: "resource.k8s.io", Kind: "ResourceSlice", Plural: "resourceslices", Singular: "resourceslice",
		Versions: []Version{typed[resourcev1.ResourceSlice, resourcev1.ResourceSliceList]("resource.k8s.io", "v1")},
		Prefix:   "/registry/resourceslices",
		Strategy: Strategy{
			Default: do(func(s slice) {
				for i := range s.Spec.Devices {
					for j := range s.Spec.Devices[i].Taints {
						defaultDeviceTaint(s, &s.Spec.Devices[i].Taints[j])
					}
				}
			}),
			PrepareCreate:            created(dropAlphaDevices),
			PrepareUpdate:            updated(func(s, _ slice) { dropAlphaDevices(s) }, func(s slice) any { return s.Spec }),
			Validate:                 one(func(s slice) fieldErrors { return validateResourceSliceUpdate(s, nil) }),
			ValidateUpdate:           pair(validateResourceSliceUpdate),
			Warnings:                 pair(resourceSliceWarnings),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("Node", "node that has the devices", func(s slice) string { return deref(s.Spec.NodeName) }),
			str("Driver", "driver of the devices", func(s slice) string { return s.Spec.Driver }),
			str("Pool", "pool of the devices", func(s slice) string { return s.Spec.Pool.Name }),
			age(),
		},
		Fields: one(func(s slice) fields.Set {
			return fields.Set{resourcev1.ResourceSliceSelectorNodeName: deref(s.Spec.NodeName), resourcev1.ResourceSliceSelectorDriver: s.Spec.Driver, "spec.pool.name": s.Spec.Pool.Name}
		}),
		FieldNames: []string{resourcev1.ResourceSliceSelectorNodeName, resourcev1.ResourceSliceSelectorDriver, "spec.pool.name"},
	}
}

// dropAlphaDevices takes out what only alpha features read.
func dropAlphaDevices(s *resourcev1.ResourceSlice) {
	s.Spec.SkipNodeOperations, s.Spec.PartitionTypeAttribute = nil, nil
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		d.NodeAllocatableResources = nil
		for j := range d.ConsumesCounters {
			d.ConsumesCounters[j].CompatibilityGroups = nil
		}
		for name, a := range d.Attributes {
			if a.IntValues != nil || a.BoolValues != nil || a.StringValues != nil || a.VersionValues != nil {
				a.IntValues, a.BoolValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[name] = a
			}
		}
	}
}
