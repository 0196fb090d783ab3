package api

import (
	storagev1 "k8s.io/api/storage/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

func csiStorageCapacity() *Kind {
	type capacity = *storagev1.CSIStorageCapacity
	return &Kind{
		Group: "storage.k8s.io", Kind: "CSIStorageCapacity", Plural: "csistoragecapacities", Singular: "csistoragecapacity", Namespaced: true,
		Versions: []Version{typed[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList]("storage.k8s.io", "v1")},
		Prefix:   "/registry/csistoragecapacities",
		Strategy: Strategy{
			Validate:       one(func(s capacity) fieldErrors { return checkStorageCapacity(s, false) }),
			ValidateUpdate: pair(validateCSIStorageCapacityUpdate),
			Warnings:       pair(storageCapacityWarnings),
		},
		Columns: []Column{
			str("StorageClassName", "class of the volumes that fit", func(s capacity) string { return s.StorageClassName }),
			str("Capacity", "bytes that are left", func(s capacity) string {
				if s.Capacity == nil {
					return "<unset>"
				}
				return s.Capacity.String()
			}),
		},
	}
}

// checkStorageCapacity: old objects may have label values that are no longer allowed.
func checkStorageCapacity(s *storagev1.CSIStorageCapacity, anyValue bool) fieldErrors {
	c := &check{}
	c.add(metavalidation.ValidateLabelSelector(s.NodeTopology, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: anyValue}, at("nodeTopology"))...)
	c.invalid(at("storageClassName"), s.StorageClassName, subdomain(s.StorageClassName)...)
	if s.Capacity != nil {
		c.quantity(at("capacity"), *s.Capacity)
	}
	return c.errs
}

func validateCSIStorageCapacityUpdate(s, old *storagev1.CSIStorageCapacity) fieldErrors {
	bad := metavalidation.ValidateLabelSelector(old.NodeTopology, metavalidation.LabelSelectorValidationOptions{}, nil)
	c := &check{errs: checkStorageCapacity(s, len(bad) > 0)}
	c.immutable(at("nodeTopology"), s.NodeTopology, old.NodeTopology)
	c.immutable(at("storageClassName"), s.StorageClassName, old.StorageClassName)
	return c.errs
}
